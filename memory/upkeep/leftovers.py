"""Unfinished files that a killed writer left in a data folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from memory.folder import DataFolder
from memory.ownership import give_to_owner
from memory.upkeep.interrupted_restore import settle_interrupted_restore

ABANDONED_S = 3600.0
"""Age from which an unfinished file is taken for abandoned."""

_PATTERNS = ("*.tmp", ".*.tmp", "*/*.tmp", "*/.*.tmp", "*.partial", "*/*.partial")


def unfinished_paths(folder: DataFolder, *, clock: Callable[[], float] = time.time) -> list[Path]:
    """Return the unfinished files and folders that were not written to for an hour."""
    found = {path for pattern in _PATTERNS for path in folder.path.glob(pattern)}
    oldest = clock() - ABANDONED_S
    return sorted(path for path in found if _written_at(path, otherwise=oldest) < oldest)


def remove_unfinished(folder: DataFolder, *, clock: Callable[[], float] = time.time) -> int:
    """Remove abandoned unfinished files. A restore that was killed is settled first, since it set the old store aside.

    Returns:
        The number of removed files and folders.

    Raises:
        FolderInUseError: learnd runs on the folder.
        OSError: a file cannot be removed.
    """
    found = unfinished_paths(folder, clock=clock)
    try:
        with folder.hold("control"), folder.hold("learner"):
            settle_interrupted_restore(folder)
            for path in unfinished_paths(folder, clock=clock):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
    finally:
        give_to_owner(folder.path)
    return len(found)


def _written_at(path: Path, *, otherwise: float) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return otherwise
