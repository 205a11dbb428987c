"""What people ask of the daemon: rows, so that it may be down."""

from __future__ import annotations

from typing import Any

from memory.connection import Row, StoreConnection, from_json, to_json
from memory.errors import MemoryStoreError
from memory.records import Request, RequestStatus


class RequestTable:
    """The requests of a store."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection
        self._taken: set[int] = set()

    def add(self, kind: str, payload: dict[str, Any]) -> int:
        """Record what a person asks of the daemon; return the request's id."""
        with self._connection.transaction("recording a request"):
            return self._connection.insert(
                "INSERT INTO requests (kind, payload, created_at) VALUES (?, ?, ?)",
                (kind, to_json(payload), self._connection.clock()),
            )

    def take(self) -> list[Request]:
        """Return the open requests, oldest first, that this store object has not returned yet.

        Nothing is written: a request stays open until it is answered, so that a daemon that dies with one in hand
        takes it again when it is back.
        """
        found = self._connection.rows("SELECT * FROM requests WHERE finished_at IS NULL ORDER BY id")
        fresh = [_request(row) for row in found if row["id"] not in self._taken]
        self._taken = {row["id"] for row in found}
        return fresh

    def finish(self, request_id: int, outcome: str) -> None:
        """Answer a request; the first answer stands.

        Raises:
            MemoryStoreError: there is no such request.
        """
        with self._connection.transaction("answering a request"):
            self.status(request_id)
            self._connection.execute(
                "UPDATE requests SET finished_at = ?, outcome = ? WHERE id = ? AND finished_at IS NULL",
                (self._connection.clock(), outcome, request_id),
            )

    def status(self, request_id: int) -> RequestStatus:
        """Return a request with its answer, if it has one.

        Raises:
            MemoryStoreError: there is no such request.
        """
        row = self._connection.row("SELECT * FROM requests WHERE id = ?", (request_id,))
        if row is None:
            raise MemoryStoreError(
                operation="reading request", subject=str(request_id), found="there is none of that number."
            )
        return RequestStatus(request=_request(row), outcome=row["outcome"], finished_at=row["finished_at"])


def _request(row: Row) -> Request:
    return Request(id=row["id"], kind=row["kind"], payload=from_json(row["payload"]), created_at=row["created_at"])
