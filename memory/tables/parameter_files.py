"""The rows of parameter files: the files that the store refers to, and those that it no longer refers to."""

from __future__ import annotations

from collections.abc import Sequence

from memory.connection import StoreConnection
from memory.records import ParameterFile

_UNREFERENCED = (
    "FROM parameter_files"
    " WHERE NOT EXISTS (SELECT 1 FROM checkpoints WHERE checkpoints.sha256 = parameter_files.sha256)"
    " AND NOT EXISTS (SELECT 1 FROM initializations WHERE initializations.sha256 = parameter_files.sha256)"
)
_SELECT_UNREFERENCED = "SELECT sha256 " + _UNREFERENCED
_DELETE_UNREFERENCED = "DELETE " + _UNREFERENCED + " AND sha256 = ?"


def record_file(connection: StoreConnection, file: ParameterFile) -> None:
    """Record a file inside the caller's transaction. The row that refers to the file must be inserted afterwards."""
    connection.execute(
        "INSERT INTO parameter_files (sha256, size_bytes, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (file.sha256, file.size_bytes, connection.clock()),
    )


def forget_unreferenced(connection: StoreConnection, *, among: Sequence[str] | None = None) -> list[str]:
    """Delete the rows of files without a reference, inside the caller's transaction; return the files' checksums.

    Args:
        connection: a connection with an open transaction.
        among: checksums of the files that may have lost a reference; None examines all files.
    """
    if among is None:
        found = connection.rows(_SELECT_UNREFERENCED)
        among = [row["sha256"] for row in found]
    return [sha256 for sha256 in among if connection.execute(_DELETE_UNREFERENCED, (sha256,))]


def is_recorded(connection: StoreConnection, sha256: str) -> bool:
    """Return whether the store has a row for the file of that checksum."""
    return connection.row("SELECT 1 FROM parameter_files WHERE sha256 = ?", (sha256,)) is not None
