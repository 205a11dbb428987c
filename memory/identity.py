"""The identity of a store: a UUID in the database and in the file ``store-id`` of the data folder.

The two copies show whether a database, a folder of parameter files and a backup belong together.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from memory.connection import StoreConnection
from memory.errors import ForeignStoreError, MemoryStoreError, StoreFullError

if TYPE_CHECKING:
    from memory.folder import DataFolder

FILE_NAME = "store-id"


def new_identity() -> str:
    """Return a new random UUID."""
    return str(uuid.uuid4())


def identity_of_database(connection: StoreConnection) -> str | None:
    """Return the UUID recorded in a database; None for a store that was written before stores had UUIDs."""
    if connection.value("SELECT 1 FROM sqlite_master WHERE name = 'store_identity'") is None:
        return None
    value = connection.value("SELECT uuid FROM store_identity WHERE id = 1")
    return None if value is None else str(value)


def identity_of_folder(path: Path) -> str | None:
    """Return the UUID in the file ``store-id`` of a data folder or a backup; None without a readable UUID.

    Args:
        path: the data folder or the backup's folder.

    Raises:
        MemoryStoreError: the file is there and cannot be read, or is a folder.
    """
    try:
        return str(uuid.UUID((path / FILE_NAME).read_text(encoding="ascii").strip()))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise MemoryStoreError(
            operation="reading the UUID of a store",
            subject=str(path / FILE_NAME),
            found=f"{error.strerror or error}.",
            hint="It must be a file that the owner of the data folder can read. Where it is not, move it away:"
            " the next start writes it from the database.",
        ) from error


def write_identity(path: Path, identity: str) -> None:
    """Write the file ``store-id`` of a data folder or a backup durably.

    Raises:
        StoreFullError: the disk is full; an earlier file is unchanged.
        MemoryStoreError: the file cannot be written.
    """
    from memory.files.parameters import write_durably

    write_durably(path / FILE_NAME, f"{identity}\n".encode("ascii"))


def require_same_identity(folder: DataFolder, connection: StoreConnection, *, is_written: bool = True) -> None:
    """Check that a database belongs to its data folder.

    Args:
        folder: the data folder.
        connection: a connection to its database.
        is_written: write a missing ``store-id``. Backups that were made before stores had UUIDs then get the same
            UUID.

    Raises:
        ForeignStoreError: the UUIDs differ.
        StoreFullError: the disk has no space for a missing ``store-id``.
    """
    recorded = identity_of_database(connection)
    if recorded is None:
        return
    found = identity_of_folder(folder.path)
    if found == recorded:
        return
    if found is not None:
        raise foreign_store_error(folder, recorded=recorded, found=found, operation="opening the store")
    if is_written:
        # The file is written last, so that the whole step is repeated if the process is killed in between.
        adopt_legacy_backups(folder, recorded)
        write_identity(folder.path, recorded)


def foreign_store_error(
    folder: DataFolder, *, recorded: str | None, found: str | None, operation: str
) -> ForeignStoreError:
    """Return the error for a database that does not belong to its data folder."""
    return ForeignStoreError(
        operation=operation,
        subject=str(folder.store_path),
        found=f"the database has the UUID {recorded}, the file {FILE_NAME} of the data folder has {found or 'none'}.",
        hint="The database belongs to another store. Put back the learnd.db of this folder, or restore a backup of it:"
        " `learnd memory restore newest` (docs/store.md).",
    )


def adopt_legacy_backups(folder: DataFolder, identity: str) -> None:
    """Give a UUID to every finished backup that was made before stores had UUIDs.

    A backup that cannot be read or written is skipped.

    Raises:
        StoreFullError: the disk is full.
    """
    for path in folder.backups_path.glob("[0-9]*Z"):
        try:
            if identity_of_folder(path) is None and _is_legacy(path / folder.store_path.name):
                write_identity(path, identity)
        except StoreFullError:
            raise
        except (MemoryStoreError, OSError):
            continue


def _is_legacy(database_path: Path) -> bool:
    connection = StoreConnection(database_path, is_reader=True)
    try:
        return identity_of_database(connection) is None
    finally:
        connection.close()
