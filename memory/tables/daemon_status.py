"""What the daemon says of itself: one row, so that it can be read with the daemon up or down."""

from __future__ import annotations

from typing import Any

from memory.connection import StoreConnection, from_json, to_json


class DaemonStatusTable:
    """What the daemon last said of itself."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection

    def set(self, status: dict[str, Any]) -> None:
        """Replace what the daemon says of itself.

        The commit does not wait for the disk: after a power cut there is no daemon for the row to be true of.
        """
        with self._connection.transaction("writing the daemon's status", is_durable=False):
            self._connection.execute(
                "INSERT INTO daemon_status (id, status, written_at) VALUES (1, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET status = excluded.status, written_at = excluded.written_at",
                (to_json(status), self._connection.clock()),
            )

    def get(self) -> dict[str, Any] | None:
        """Return what the daemon last said of itself, with ``written_at``; None if it never did."""
        row = self._connection.row("SELECT status, written_at FROM daemon_status WHERE id = 1")
        if row is None:
            return None
        status: dict[str, Any] = from_json(row["status"])
        return {**status, "written_at": row["written_at"]}
