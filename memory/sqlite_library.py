"""The only SQLite library of the process, and the translation of its errors.

Two SQLite libraries in one process drop each other's POSIX locks on the same file, a documented cause of corruption.
``sqlite_utils`` uses ``pysqlite3`` if it is installed, and this module uses it too. No other module of the project may
import ``sqlite3``. ``pysqlite3`` also bundles a SQLite without the WAL-reset bug of 3.7.0 to 3.51.2.

This module imports ``pysqlite3`` directly, because importing ``sqlite_utils`` takes 70 ms, which would slow readers
(``learnd status``). A writer migrates with ``sqlite_utils`` and checks that both use the same library.
"""

from __future__ import annotations

import errno
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from memory.errors import CorruptFileError, MemoryStoreError, StoreBusyError, StoreFullError

if TYPE_CHECKING:
    import sqlite3
else:
    import pysqlite3.dbapi2 as sqlite3

__all__ = ["is_out_of_room", "require_one_library", "sqlite3", "translated"]

_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FULL_NAMES = frozenset({"SQLITE_FULL"})
# SQLite may also report these on a full disk, depending on the write that failed.
_MAYBE_FULL_NAMES = frozenset(
    {
        "SQLITE_IOERR",
        "SQLITE_IOERR_WRITE",
        "SQLITE_IOERR_SHMSIZE",
        "SQLITE_IOERR_SHMMAP",
        "SQLITE_IOERR_FSYNC",
        "SQLITE_CANTOPEN",
    }
)
# SQLITE_PROTOCOL: the locks of a transaction were not acquired in many tries over some seconds.
_BUSY_NAMES = frozenset(
    {"SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_BUSY_RECOVERY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"}
)
_CORRUPT_NAMES = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CORRUPT_INDEX", "SQLITE_CORRUPT_VTAB"})
_ROOM_BYTES = 1 << 20

FULL_HINT = "Free some room, or lower the limits under [memory] and run `learnd schedule run-now prune`."


def require_one_library() -> None:
    """Check that ``sqlite_utils`` uses the same SQLite library as this module.

    Raises:
        MemoryStoreError: ``sqlite_utils`` uses another library.
    """
    theirs = importlib.import_module("sqlite_utils.utils").sqlite3.__name__
    if theirs != "pysqlite3":
        raise MemoryStoreError(
            operation="loading SQLite",
            subject="sqlite_utils",
            found=f"it uses {theirs}, learnd uses pysqlite3; two libraries on one file corrupt it.",
            hint="Install pysqlite3 (`make setup`).",
        )


def is_out_of_room(error: OSError) -> bool:
    """Return whether a write failed because the disk is full or a quota or file-size limit is reached."""
    return error.errno in _FULL_ERRNOS


def _has_no_room(path: Path) -> bool:
    """Return whether the disk or quota is too full for a small file in the folder of ``path``; a file is written."""
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=path.parent, buffering=0) as probe:
            probe.write(bytes(_ROOM_BYTES))
    except OSError as error:
        return is_out_of_room(error)
    return False


@contextmanager
def translated(operation: str, path: Path) -> Iterator[None]:
    """Translate SQLite's errors inside the block into the package's own.

    Args:
        operation: the operation, as a gerund.
        path: the database file.

    Raises:
        StoreFullError: the disk is full.
        StoreBusyError: the lock was not acquired within the time-out, or a read exceeded its time limit.
        CorruptFileError: the file is not a database, or is a damaged one.
        MemoryStoreError: SQLite reported any other error.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _meaning(error, operation=operation, path=path) from error


def _meaning(error: sqlite3.Error, *, operation: str, path: Path) -> MemoryStoreError:
    name = str(getattr(error, "sqlite_errorname", ""))
    if not name and "disk is full" in str(error):  # Errors of backup() have no name.
        name = "SQLITE_FULL"
    found = f"{error} ({name})." if name else f"{error}."
    subject = str(path)
    if name in _FULL_NAMES or (name in _MAYBE_FULL_NAMES and _has_no_room(path)):
        if name not in _FULL_NAMES:
            found = f"the disk is full: {found}"
        return StoreFullError(operation=operation, subject=subject, found=found, hint=FULL_HINT, is_recoverable=True)
    if name in _BUSY_NAMES:
        hint = "Another process is writing; try again."
        return StoreBusyError(operation=operation, subject=subject, found=found, hint=hint, is_recoverable=True)
    if name == "SQLITE_INTERRUPT":
        found = "the read exceeded its time limit and was interrupted."
        return StoreBusyError(operation=operation, subject=subject, found=found, is_recoverable=True)
    if name in _CORRUPT_NAMES:
        hint = "Stop learnd and restore a backup: `learnd memory restore newest` (docs/store.md)."
        return CorruptFileError(operation=operation, subject=subject, found=found, hint=hint)
    return MemoryStoreError(operation=operation, subject=subject, found=found)
