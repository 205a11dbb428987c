"""Opening a store to read it: it must be there, and this learnd must understand it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from memory.connection import StoreConnection
from memory.errors import StoreMissingError
from memory.schema import require_present


def open_reader(path: Path, *, clock: Callable[[], float] = time.time) -> StoreConnection:
    """Open a connection that writes nothing, whose every read is bounded.

    Args:
        path: the database file.
        clock: wall clock, seconds since the epoch.

    Raises:
        StoreMissingError: there is no store.
        UnknownSchemaError: another version of learnd wrote it.
        CorruptFileError: the database is damaged.
    """
    _require_file(path)
    connection = StoreConnection(path, is_reader=True, clock=clock)
    try:
        require_present(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _require_file(path: Path) -> None:
    if not path.exists():
        raise StoreMissingError(
            operation="opening the store",
            subject=str(path),
            found="there is none.",
            hint="Start `learnd run` once, or name another folder with --data-dir.",
        )
