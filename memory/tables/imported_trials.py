"""The marks of trials that came from another store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from memory.connection import StoreConnection
from memory.tables.families import FamilyTable
from memory.tables.trials import PackedTrial, TrialTable

IMPORTED_STEP = 0
"""Learner step of an imported trial: no learner step of this store recorded it."""

AfterImport = Callable[[int, Sequence[int]], None]
"""Called inside the transaction of each portion with the family's id and the ids of its imported trials."""


class ImportedTrialTable:
    """The imported trials of a store. Prune and repair remove a mark together with its trial."""

    def __init__(self, connection: StoreConnection, families: FamilyTable, trials: TrialTable) -> None:
        self._connection = connection
        self._families = families
        self._trials = trials

    def add(self, family: str, trials: list[PackedTrial], *, store: str, after: AfterImport | None = None) -> list[int]:
        """Record trials of another store in one transaction; return their ids. No total changes.

        Args:
            family: name of the family that gets them.
            trials: the trials.
            store: UUID of the store that they come from.
            after: what else to do with them in the same transaction, such as giving them places for rehearsal.

        Raises:
            FamilyNotFoundError: there is no family of that name.
            StoreFullError: the disk is full; nothing was recorded.
            StoreBusyError: the write lock was not acquired in time; nothing was recorded.
        """
        with self._connection.transaction("importing trials"):
            at = self._connection.clock()
            family_id = self._families.get(family).id
            trial_ids = self._trials.add(family_id, trials, learner_step=IMPORTED_STEP, at=at)
            for trial_id in trial_ids:
                self._connection.execute(
                    "INSERT INTO imported_trials (trial_id, store, imported_at) VALUES (?, ?, ?)", (trial_id, store, at)
                )
            if after is not None:
                after(family_id, trial_ids)
        return trial_ids

    def trial_ids(self, family: str) -> list[int]:
        """Return the ids of the imported trials of a family, oldest first.

        Raises:
            FamilyNotFoundError: there is no family of that name.
        """
        with self._connection.snapshot():
            family_id = self._families.get(family).id
            rows = self._connection.rows(
                "SELECT trial_id FROM imported_trials JOIN trials ON trials.id = trial_id WHERE family_id = ?"
                " ORDER BY trial_id",
                (family_id,),
            )
        return [int(row["trial_id"]) for row in rows]
