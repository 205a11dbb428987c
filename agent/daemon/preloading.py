"""Modules that the daemon needs only in some of its jobs, imported at its start.

An upgrade may replace or remove their files while the service runs. A job would fail if it imported a module hours
later whose version differs from that of the modules already loaded.
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
    """Import the modules."""
    for name in LATE_MODULES:
        importlib.import_module(name)
