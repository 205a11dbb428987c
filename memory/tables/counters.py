"""Persistent counters with bounded labels. After a restart they continue from their stored values."""

from __future__ import annotations

import json

from memory.connection import StoreConnection
from memory.records import CounterValue


class CounterTable:
    """The counters of a store."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection

    def add(self, name: str, labels: dict[str, str], amount: float = 1) -> None:
        """Add an amount to a counter, which starts at 0.

        Raises:
            ValueError: the amount is negative or not finite.
        """
        if not 0 <= amount < float("inf"):
            raise ValueError(f"a counter only grows: {name} cannot be changed by {amount}")
        with self._connection.transaction("adding to a counter"):
            self._connection.execute(
                "INSERT INTO counters (name, labels, value) VALUES (?, ?, ?)"
                " ON CONFLICT (name, labels) DO UPDATE SET value = value + excluded.value",
                (name, json.dumps(labels, sort_keys=True), amount),
            )

    def forget_family(self, name: str) -> None:
        """Delete the counters that have a family's name as a label; a removed family leaves such counters behind."""
        with self._connection.transaction("forgetting a family's counters"):
            for row in self._connection.rows("SELECT name, labels FROM counters"):
                if json.loads(row["labels"]).get("family") == name:
                    self._connection.execute(
                        "DELETE FROM counters WHERE name = ? AND labels = ?", (row["name"], row["labels"])
                    )

    def all(self) -> list[CounterValue]:
        """Return the values of all counters, sorted by name and labels."""
        found = self._connection.rows("SELECT name, labels, value FROM counters ORDER BY name, labels")
        return [CounterValue(row["name"], json.loads(row["labels"]), row["value"]) for row in found]
