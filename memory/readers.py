"""Opening of a store for reading. The store must exist and have the schema of this version of learnd."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from memory.connection import StoreConnection
from memory.errors import StoreMissingError
from memory.folder import DataFolder
from memory.remains import is_blank, lost, remains_of, require_not_lost
from memory.schema import is_initialised, require_present


def open_reader(path: Path, *, clock: Callable[[], float] = time.time) -> StoreConnection:
    """Open a connection that writes nothing and has a time limit for every read.

    Args:
        path: the database file, in its data folder.
        clock: wall clock, seconds since the epoch.

    Raises:
        StoreMissingError: there is no store.
        StoreLostError: the database is lost, and other parts of a store are present.
        UnknownSchemaError: another version of learnd wrote it.
        CorruptFileError: the database is damaged.
    """
    folder = DataFolder(path.parent)
    require_not_lost(folder)
    if is_blank(path):
        raise _missing(path)
    connection = StoreConnection(path, is_reader=True, clock=clock)
    try:
        if not is_initialised(connection):
            require_new(folder, connection)
        require_present(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def require_new(folder: DataFolder, connection: StoreConnection) -> None:
    """Check that a database without tables is a new one.

    The database's log does not count as a part of a store here, because SQLite has read it and found no table in it.

    Raises:
        StoreLostError: other parts of a store are present.
    """
    parts = remains_of(folder)
    # Checked again, because another process may have created the tables in the meantime.
    if parts and not is_initialised(connection):
        raise lost(folder, f"the database has no tables, but parts of a store are present: {', '.join(parts)}.")


def _missing(path: Path) -> StoreMissingError:
    return StoreMissingError(
        operation="opening the store",
        subject=str(path),
        found="there is none." if not path.exists() else "it has no tables yet.",
        hint="Start `learnd run` once, or name another folder with --data-dir.",
    )
