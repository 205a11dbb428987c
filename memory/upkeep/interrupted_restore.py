"""Paths of a restore in progress, and the clean-up after a killed restore."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from memory.files.parameters import fsync_folder
from memory.folder import DataFolder
from memory.identity import FILE_NAME

NEW_DATABASE = ".restore-{}.db.tmp"
"""Name of the new database until it replaces the old one."""

NEW_IDENTITY = ".restore-{}.id.tmp"
"""Name of the new file ``store-id`` until it replaces the old one."""

ASIDE = ".replaced-{}.tmp"
"""Name of the folder with the old store until the restore is complete."""


def settle_interrupted_restore(folder: DataFolder) -> None:
    """Clean up after a killed restore; the caller must hold the data folder.

    - If the old store is still in place, its log and ``store-id`` are put back and the links to it are removed.
    - If the new store is in place, the set-aside folder, which holds the only copy of the old store, gets its name.
    """
    for name in (NEW_DATABASE, NEW_IDENTITY):
        for path in folder.path.glob(f"{name.format('*')}*"):
            path.unlink(missing_ok=True)
    for aside in folder.path.glob(ASIDE.format("*")):
        if _is_replaced(folder, aside):
            name_set_aside_folder(aside)
            continue
        for path in (aside / log_paths(folder)[0].name, aside / FILE_NAME):
            if path.exists() and not (folder.path / path.name).exists():
                os.link(path, folder.path / path.name)
        shutil.rmtree(aside)


def _is_replaced(folder: DataFolder, aside: Path) -> bool:
    """Return whether the set-aside database is no longer the store's database."""
    old = aside / folder.store_path.name
    if not folder.store_path.exists():
        return old.exists()
    return not old.exists() or not old.samefile(folder.store_path)


def name_set_aside_folder(aside: Path) -> Path:
    """Give the set-aside folder its final name; return the new path."""
    named = aside.with_name(aside.name.removeprefix(".").removesuffix(".tmp"))
    aside.rename(named)
    fsync_folder(aside.parent)
    return named


def log_paths(folder: DataFolder) -> list[Path]:
    """Return the paths of the write-ahead log and its shared-memory index; these files need not exist."""
    return [folder.path / f"{folder.store_path.name}{suffix}" for suffix in ("-wal", "-shm")]
