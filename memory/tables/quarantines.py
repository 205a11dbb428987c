"""The quarantines of families, which a family's own row holds only while one lasts."""

from __future__ import annotations

from memory.connection import StoreConnection
from memory.records import Quarantine

MOST_KEPT = 200
"""Number of quarantines that are kept, over all families; a family that is broken has about one an hour."""


class QuarantineTable:
    """The newest quarantines of a store. ``FamilyTable.set_state`` writes them."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection

    def newest(self, limit: int) -> list[Quarantine]:
        """Return the newest ``limit`` quarantines, newest first."""
        found = self._connection.rows(
            "SELECT name AS family, began_at, until, reason FROM quarantines JOIN families ON families.id = family_id"
            " ORDER BY quarantines.id DESC LIMIT ?",
            (limit,),
        )
        return [Quarantine(**dict(row)) for row in found]


def begin_quarantine(connection: StoreConnection, family_id: int, *, until: float, reason: str) -> None:
    """Record that a quarantine begins, and end one of the family that lasts; to be called in a transaction."""
    end_quarantine(connection, family_id)
    connection.execute(
        "INSERT INTO quarantines (family_id, began_at, until, reason) VALUES (?, ?, ?, ?)",
        (family_id, connection.clock(), until, reason),
    )
    connection.execute("DELETE FROM quarantines WHERE id <= (SELECT max(id) FROM quarantines) - ?", (MOST_KEPT,))


def end_quarantine(connection: StoreConnection, family_id: int) -> None:
    """Record that a quarantine ends now if it lasts; to be called in a transaction."""
    now = connection.clock()
    connection.execute("UPDATE quarantines SET until = ? WHERE family_id = ? AND until > ?", (now, family_id, now))
