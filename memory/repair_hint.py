"""The hint to repair a damaged store, which errors, health and ``learnd doctor`` give."""

from __future__ import annotations

REPAIR_COMMAND = "learnd doctor --repair"

STOP_AND_REPAIR = f"Stop learnd and run `{REPAIR_COMMAND}`."
