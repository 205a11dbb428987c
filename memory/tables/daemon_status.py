"""The daemon's status: one row that can be read whether the daemon runs or not."""

from __future__ import annotations

from typing import Any

from memory.connection import StoreConnection, from_json, to_json


class DaemonStatusTable:
    """The last status that the daemon wrote."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection

    def set(self, status: dict[str, Any]) -> None:
        """Replace the status.

        The commit does not wait for the disk: a power cut also ends the daemon, so the status is then out of date.
        """
        with self._connection.transaction("writing the daemon's status", is_durable=False):
            self._connection.execute(
                "INSERT INTO daemon_status (id, status, written_at) VALUES (1, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET status = excluded.status, written_at = excluded.written_at",
                (to_json(status), self._connection.clock()),
            )

    def clear(self) -> None:
        """Remove the status, which does not hold for a store that was restored."""
        with self._connection.transaction("removing the daemon's status"):
            self._connection.execute("DELETE FROM daemon_status")

    def get(self) -> dict[str, Any] | None:
        """Return the last status with its time ``written_at``; None if no status was ever written."""
        row = self._connection.row("SELECT status, written_at FROM daemon_status WHERE id = 1")
        if row is None:
            return None
        status: dict[str, Any] = from_json(row["status"])
        return {**status, "written_at": row["written_at"]}
