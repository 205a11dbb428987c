"""Opening of a store for writing, and creation of a new store in place of a lost one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path

from memory.connection import StoreConnection
from memory.errors import (
    CorruptFileError,
    ForeignStoreError,
    MemoryStoreError,
    StoreLostError,
    StoreMissingError,
)
from memory.files.parameters import fsync_folder
from memory.folder import DataFolder
from memory.identity import (
    FILE_NAME,
    adopt_legacy_backups,
    identity_of_database,
    identity_of_folder,
    new_identity,
    require_same_identity,
    write_identity,
)
from memory.readers import open_reader, require_new
from memory.remains import is_blank, require_not_lost
from memory.schema import is_initialised, migrate


def open_writer(
    folder: DataFolder, *, must_exist: bool = False, clock: Callable[[], float] = time.time
) -> StoreConnection:
    """Open a connection for writing to the store of a data folder, and migrate the store to the newest schema.

    Args:
        folder: the data folder.
        must_exist: do not create the folder, the database or its tables.
        clock: wall clock, seconds since the epoch.

    Raises:
        StoreLostError: the database is lost, and other parts of a store are present.
        StoreMissingError: there is no store, and ``must_exist`` is set.
        ForeignStoreError: the database belongs to another store than the data folder.
        UnknownSchemaError: another version of learnd wrote it.
        CorruptFileError: the database is damaged.
        StoreFullError: the disk has no space for the files that opening writes.
        MemoryStoreError: the folder cannot be used.
    """
    if must_exist:
        require_store(folder)
        folder.require_private()
    else:
        require_not_lost(folder)
        folder.create()
    return _opened(folder, must_exist=must_exist, is_new=False, clock=clock)


def require_store(folder: DataFolder) -> None:
    """Check that a data folder has a database. Only file names and sizes are read.

    Raises:
        StoreLostError: the database is lost, and other parts of a store are present.
        StoreMissingError: there is no store.
    """
    require_not_lost(folder)
    if is_blank(folder.store_path):
        raise _missing(folder)


def begin_anew(folder: DataFolder, *, clock: Callable[[], float] = time.time) -> Path | None:
    """Move the remains of a lost store into a folder and create a new store. The caller must hold the data folder.

    Backups and earlier ``replaced-*`` folders are not moved. They keep the UUID of the old store, so that the new store
    never removes them.

    Returns:
        The folder with the remains of the old store; None if there were none.

    Raises:
        MemoryStoreError: the store is intact; nothing was changed.
    """
    _require_not_intact(folder, clock)
    adopt_legacy_backups(folder, identity_of_folder(folder.path) or new_identity())
    aside = _set_aside(folder)
    folder.create()
    _opened(folder, must_exist=False, is_new=True, clock=clock).close()
    return aside


def _opened(folder: DataFolder, *, must_exist: bool, is_new: bool, clock: Callable[[], float]) -> StoreConnection:
    connection = StoreConnection(folder.store_path, is_reader=False, must_exist=must_exist, clock=clock)
    try:
        if not is_new:
            _require_initialised_or_new(folder, connection, must_exist=must_exist)
        migrate(connection)
        if is_new:
            write_identity(folder.path, str(identity_of_database(connection)))
        else:
            require_same_identity(folder, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _require_initialised_or_new(folder: DataFolder, connection: StoreConnection, *, must_exist: bool) -> None:
    """Check that the database has the tables of a store, or that they may be created.

    Raises:
        StoreLostError: the database has no tables, and other parts of a store are present.
        StoreMissingError: the database has no tables, and ``must_exist`` is set.
    """
    if is_initialised(connection):
        return
    require_new(folder, connection)
    if must_exist and not is_initialised(connection):
        raise _missing(folder)


def _missing(folder: DataFolder) -> StoreMissingError:
    return StoreMissingError(
        operation="opening the store",
        subject=str(folder.store_path),
        found="there is none.",
        hint="Start `learnd run` once, or name another folder with --data-dir.",
    )


def _require_not_intact(folder: DataFolder, clock: Callable[[], float]) -> None:
    """Check that the store of a data folder is missing, lost, damaged, or belongs to another data folder.

    Raises:
        MemoryStoreError: the store is intact, or its state cannot be determined.
    """
    try:
        connection = open_reader(folder.store_path, clock=clock)
    except (StoreLostError, StoreMissingError, CorruptFileError):
        return
    try:
        require_same_identity(folder, connection, is_written=False)
    except ForeignStoreError:
        return
    finally:
        connection.close()
    raise MemoryStoreError(
        operation="beginning a new store",
        subject=str(folder.path),
        found="the folder has an intact store.",
        hint="Start without --new to use that store, or name another folder with --data-dir.",
    )


def _set_aside(folder: DataFolder) -> Path | None:
    """Move the database with its log, the parameter files and the UUID into a new folder ``replaced-TIME``."""
    name = folder.store_path.name
    candidates = [folder.path / part for part in (f"{name}-wal", f"{name}-shm", f"{name}-journal", name, FILE_NAME)]
    present = [path for path in candidates if path.exists() or path.is_symlink()]
    if any(folder.parameters_path.glob("*")):
        present.append(folder.parameters_path)
    if not present:
        return None
    aside = folder.path / f"replaced-{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime())}-{secrets.token_hex(2)}"
    try:
        aside.mkdir(mode=0o700)
        # The UUID is moved last: while it is present, a start after a kill refuses to create a store.
        for path in sorted(present, key=lambda path: path.name == FILE_NAME):
            path.rename(aside / path.name)
        fsync_folder(aside)
        fsync_folder(folder.path)
    except OSError as error:
        raise MemoryStoreError(
            operation="setting the old store aside", subject=str(aside), found=f"{error.strerror or error}."
        ) from error
    return aside
