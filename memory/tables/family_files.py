"""The files from which families were declared, so that the daemon notices what happened to them while it was down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memory.connection import Row, StoreConnection, from_json, to_json
from memory.records.family_files import FamilyFile


class FamilyFileTable:
    """The family files of a store, by path."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection

    def all(self) -> list[FamilyFile]:
        """Return the files, in the order of their paths."""
        return [_family_file(row) for row in self._connection.rows("SELECT * FROM family_files ORDER BY path")]

    def record(self, path: str, *, family_id: int, declaration: Mapping[str, Any], content: Mapping[str, Any]) -> None:
        """Record that a file declares a family, in place of what it declared before.

        Args:
            path: the file.
            family_id: id of the family.
            declaration: the spec that the file declares, as JSON values.
            content: the keys and values of the file, as JSON values.
        """
        with self._connection.transaction("recording a family file"):
            self._connection.execute(
                "INSERT OR REPLACE INTO family_files (path, family_id, declaration, content, is_gone)"
                " VALUES (?, ?, ?, ?, 0)",
                (path, family_id, to_json(declaration), to_json(content)),
            )

    def mark_gone(self, path: str) -> None:
        """Record that a file does not exist any more."""
        with self._connection.transaction("recording a family file"):
            self._connection.execute("UPDATE family_files SET is_gone = 1 WHERE path = ?", (path,))

    def forget(self, path: str) -> None:
        """Remove the record of a file."""
        with self._connection.transaction("forgetting a family file"):
            self._connection.execute("DELETE FROM family_files WHERE path = ?", (path,))


def _family_file(row: Row) -> FamilyFile:
    return FamilyFile(
        path=row["path"],
        family_id=row["family_id"],
        declaration=from_json(row["declaration"]),
        content=None if row["content"] is None else from_json(row["content"]),
        is_gone=bool(row["is_gone"]),
    )
