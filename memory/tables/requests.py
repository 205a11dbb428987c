"""Requests to the daemon. They are rows, so a person can add one while the daemon is down."""

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
        """Record a person's request to the daemon; return the request's id."""
        with self._connection.transaction("recording a request"):
            return self._connection.insert(
                "INSERT INTO requests (kind, payload, created_at) VALUES (?, ?, ?)",
                (kind, to_json(payload), self._connection.clock()),
            )

    def take(self) -> list[Request]:
        """Return the open requests that this object has not returned yet, oldest first.

        Nothing is written: a request stays open until it is answered. A daemon that is killed before it answers a
        request therefore takes the request again after its restart.
        """
        found = self._connection.rows("SELECT * FROM requests WHERE finished_at IS NULL ORDER BY id")
        fresh = [_request(row) for row in found if row["id"] not in self._taken]
        self._taken = {row["id"] for row in found}
        return fresh

    def finish(self, request_id: int, outcome: str) -> None:
        """Record the answer to a request. If the request already has an answer, nothing changes.

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
        """Return a request, with its answer if there is one.

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
