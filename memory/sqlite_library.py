"""The one SQLite library of the process, and what its errors mean here.

Two SQLite libraries in one process drop each other's POSIX locks on the same file, a documented road to corruption.
``sqlite_utils`` takes ``pysqlite3`` where it is installed, and so does this module; nothing else in the project may
import ``sqlite3``. ``pysqlite3`` also bundles a SQLite without the WAL-reset bug of 3.7.0 to 3.51.2.
It is imported here rather than through ``sqlite_utils`` because that takes 70 ms, which a reader (``learnd status``)
should not pay; a writer, which migrates with ``sqlite_utils``, checks that the two agree.
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
# On a full disk SQLite reports these where the write that failed was not one it takes for "full".
_MAYBE_FULL_NAMES = frozenset(
    {"SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_SHMMAP", "SQLITE_IOERR_FSYNC", "SQLITE_CANTOPEN"}
)
_BUSY_NAMES = frozenset({"SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_BUSY_RECOVERY", "SQLITE_LOCKED"})
_CORRUPT_NAMES = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CORRUPT_INDEX", "SQLITE_CORRUPT_VTAB"})
_ROOM_BYTES = 1 << 20

FULL_HINT = "Free some room, or lower the limits under [memory] and run `learnd schedule run-now prune`."


def require_one_library() -> None:
    """Check that ``sqlite_utils`` uses the same SQLite library as this module.

    Raises:
        MemoryStoreError: it does not.
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
    """Whether a failed write means that the disk, the quota or the file-size limit has no room."""
    return error.errno in _FULL_ERRNOS


def _has_no_room(path: Path) -> bool:
    """Whether a small file beside ``path`` cannot be written for want of room: a full disk, or a quota used up."""
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=path.parent, buffering=0) as probe:
            probe.write(bytes(_ROOM_BYTES))
    except OSError as error:
        return is_out_of_room(error)
    return False


@contextmanager
def translated(operation: str, path: Path) -> Iterator[None]:
    """Turn SQLite's errors inside the block into the package's own.

    Args:
        operation: what is being tried, as a gerund.
        path: the database file.

    Raises:
        StoreFullError: the disk has no room.
        StoreBusyError: the lock was not had within the time-out, or a read ran past its bound.
        CorruptFileError: the file is not a database, or a damaged one.
        MemoryStoreError: anything else that SQLite could not do.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _meaning(error, operation=operation, path=path) from error


def _meaning(error: sqlite3.Error, *, operation: str, path: Path) -> MemoryStoreError:
    name = str(getattr(error, "sqlite_errorname", ""))
    if not name and "disk is full" in str(error):  # backup() leaves the name out
        name = "SQLITE_FULL"
    found = f"{error} ({name})." if name else f"{error}."
    subject = str(path)
    if name in _FULL_NAMES or (name in _MAYBE_FULL_NAMES and _has_no_room(path)):
        return StoreFullError(operation=operation, subject=subject, found=found, hint=FULL_HINT, is_recoverable=True)
    if name in _BUSY_NAMES:
        hint = "Another process is writing; try again."
        return StoreBusyError(operation=operation, subject=subject, found=found, hint=hint, is_recoverable=True)
    if name == "SQLITE_INTERRUPT":
        found = "the read ran past its time bound and was cut short."
        return StoreBusyError(operation=operation, subject=subject, found=found, is_recoverable=True)
    if name in _CORRUPT_NAMES:
        hint = "Stop learnd and restore a backup: `learnd memory restore newest` (docs/store.md)."
        return CorruptFileError(operation=operation, subject=subject, found=found, hint=hint)
    return MemoryStoreError(operation=operation, subject=subject, found=found)
