"""Modules that the control process needs only in some of its jobs, loaded at its start.

An upgrade may replace or remove their files while the service runs. A module of another version than the rest, loaded
hours later, would fail the job that needs it.
"""

from __future__ import annotations

import importlib

LATE_MODULES = (
    "memory.upkeep.pruning",
    "memory.files.backups",
    "memory.upkeep.checking",
    "memory.files.episode_codec",
    "memory.files.parameters",
    "numpy",
    "safetensors.numpy",
    "zstandard",
    "sqlite_utils.migrations",
)


def preload() -> None:
    """Load them."""
    for name in LATE_MODULES:
        importlib.import_module(name)
