"""Detection of a lost store: the database is missing or empty, but the data folder has other parts of a store."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from memory.errors import StoreLostError
from memory.identity import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from memory.folder import DataFolder

RESTORE_HINT = (
    "Restore a backup: `learnd memory restore newest` (docs/store.md)."
    " `learnd run --new` sets everything aside and begins a new store."
)
REPLACED_GLOB = "replaced-*"


def require_not_lost(folder: DataFolder) -> None:
    """Check that a missing or empty database means a new store. Only file names and sizes are read.

    SQLite deletes the write-ahead log of an empty database. For this reason the check must be made before SQLite opens
    the file.

    Raises:
        StoreLostError: the database is missing or empty and other parts of a store are present, or the database is
            not a file.
    """
    if found := _unexpected_content(folder.store_path):
        raise lost(folder, found)
    if not is_blank(folder.store_path):
        return
    parts = [*_log_part(folder), *remains_of(folder)]
    # Checked again, because another process may have created a store in the meantime. It creates the database first.
    if parts and is_blank(folder.store_path):
        state = "empty" if folder.store_path.exists() else "missing"
        raise lost(folder, f"the database is {state}, but parts of a store are present: {', '.join(parts)}.")


def lost(folder: DataFolder, found: str) -> StoreLostError:
    """Return the error for a store whose database is lost."""
    return StoreLostError(operation="opening the store", subject=str(folder.store_path), found=found, hint=RESTORE_HINT)


def is_blank(path: Path) -> bool:
    """Return whether a database file is missing or empty. SQLite treats a file of one byte as empty."""
    try:
        return path.stat().st_size <= 1
    except (FileNotFoundError, NotADirectoryError):
        return True


def remains_of(folder: DataFolder) -> list[str]:
    """Return descriptions of the parts of a store in a data folder, without the database and its log."""
    return list(_remains_of(folder))


def _remains_of(folder: DataFolder) -> Iterator[str]:
    if (folder.path / FILE_NAME).exists():
        yield FILE_NAME
    for path, pattern, name in (
        (folder.parameters_path, "*.safetensors", "parameter files"),
        (folder.backups_path, "*/", "backups"),
    ):
        if number := sum(1 for _ in path.glob(pattern)):
            yield f"{name} ({number})"
    yield from sorted(path.name for path in folder.path.glob(REPLACED_GLOB))


def _log_part(folder: DataFolder) -> Iterator[str]:
    if not is_blank(folder.wal_path):
        yield f"{folder.wal_path.name} ({folder.wal_path.stat().st_size} bytes; part of the database, keep it)"


def _unexpected_content(path: Path) -> str:
    """Return a description of a database path that is not a file; empty for a regular file or a missing one."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return f"it is a symbolic link to {path.readlink()}, which does not exist." if path.is_symlink() else ""
    if stat.S_ISREG(mode):
        return ""
    return "it is a folder, not a database." if stat.S_ISDIR(mode) else "it is not a regular file."
