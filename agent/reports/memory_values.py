"""The JSON values of the sizes of the episodic memory."""

from __future__ import annotations

from typing import Any

from agent.output.json_values import to_json_values
from memory.records import MemoryStats


def memory_values(stats: MemoryStats | None) -> dict[str, Any]:
    """Return the JSON values of the sizes; zeros if there is no store."""
    if stats is None:
        return {"families": [], "trials": 0, "episodes": 0, "size_bytes": 0}
    values: dict[str, Any] = to_json_values(stats)
    return {**values, "trials": stats.trials, "episodes": stats.episodes, "size_bytes": stats.size_bytes}
