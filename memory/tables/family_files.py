"""The files from which families were declared, so that the daemon notices what happened to them while it was down."""

from __future__ import annotations

from memory.connection import Row, StoreConnection, from_json, to_json
from memory.records.family_files import FamilyFile


class FamilyFileTable:
    """The family files of a store, by path."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection

    def all(self) -> list[FamilyFile]:
        """Return the files, in the order of their paths."""
        return [_family_file(row) for row in self._connection.rows("SELECT * FROM family_files ORDER BY path")]

    def record(self, file: FamilyFile) -> None:
        """Record what a file declares, in place of what it declared before."""
        with self._connection.transaction("recording a family file"):
            self._connection.execute(
                "INSERT OR REPLACE INTO family_files (path, family_id, declaration, content, is_gone)"
                " VALUES (?, ?, ?, ?, ?)",
                (
                    file.path,
                    file.family_id,
                    to_json(file.declaration),
                    None if file.content is None else to_json(file.content),
                    file.is_gone,
                ),
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
