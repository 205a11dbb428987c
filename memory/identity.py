"""The identity of a store: a UUID in the database and in the file ``store-id`` beside it.

The two copies tell whether a database, a folder of parameter files and a backup belong together.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from memory.connection import StoreConnection

FILE_NAME = "store-id"


def new_identity() -> str:
    """Return a new random UUID."""
    return str(uuid.uuid4())


def identity_of_database(connection: StoreConnection) -> str | None:
    """Return the UUID recorded in a database; None for a store written before stores had one."""
    if connection.value("SELECT 1 FROM sqlite_master WHERE name = 'store_identity'") is None:
        return None
    value = connection.value("SELECT uuid FROM store_identity WHERE id = 1")
    return None if value is None else str(value)


def identity_of_folder(path: Path) -> str | None:
    """Return the UUID in the file ``store-id`` of a data folder or a backup; None without a readable UUID.

    Args:
        path: the data folder or the backup's folder.
    """
    try:
        return str(uuid.UUID((path / FILE_NAME).read_text(encoding="ascii").strip()))
    except (FileNotFoundError, ValueError):
        return None
