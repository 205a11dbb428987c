"""The reservoirs of rehearsal: for each family a bounded number of stored trials that prune does not remove."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from memory.connection import Row, StoreConnection
from memory.errors import CorruptFileError
from memory.records import Problem, ProblemKind, RehearsalTrial
from memory.row_checksums import is_intact, row_problem
from memory.tables.damage import DamageTable
from memory.tables.rehearsal_slots import free_slots
from memory.tables.trials import verified_trial

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

_TRIALS = """
SELECT rehearsal_trials.slot, trials.*
FROM rehearsal_trials JOIN trials ON trials.id = rehearsal_trials.trial_id
    AND trials.family_id = rehearsal_trials.family_id
WHERE rehearsal_trials.family_id = ? ORDER BY rehearsal_trials.slot
"""
_EPISODES = """
SELECT episodes.trial_id, episodes.number, episodes.checksum, episodes.payload
FROM rehearsal_trials JOIN episodes ON episodes.trial_id = rehearsal_trials.trial_id
WHERE rehearsal_trials.family_id = ? ORDER BY episodes.trial_id, episodes.number
"""


class RehearsalTable:
    """The reservoirs of a store. A learner step writes them together with its trials (``TrialRecord.rehearsal_slot``).

    A removed family has no reservoir: its removal empties it.
    """

    def __init__(self, connection: StoreConnection, damage: DamageTable) -> None:
        self._connection = connection
        self._damage = damage

    def family_ids(self) -> list[int]:
        """Return the ids of the families that have trials in their reservoir, ascending."""
        found = self._connection.rows("SELECT DISTINCT family_id FROM rehearsal_trials ORDER BY family_id")
        return [row["family_id"] for row in found]

    def trials(self, family_id: int) -> list[RehearsalTrial]:
        """Return the trials in a family's reservoir, ordered by slot. The checksums of all their parts are verified.

        A damaged trial is left out, logged and recorded as damage of the store. ``learnd doctor --repair`` drops it.

        Args:
            family_id: id of the family (``Family.id``). An unknown id gives an empty list.
        """
        with self._connection.snapshot():
            trials = self._connection.rows(_TRIALS, (family_id,))
            episodes = self._connection.rows(_EPISODES, (family_id,))
        of_trial = {trial_id: list(rows) for trial_id, rows in groupby(episodes, key=itemgetter("trial_id"))}
        loaded = [self._loaded(row, of_trial.get(row["id"], [])) for row in trials]
        return [trial for trial in loaded if trial is not None]

    def teacher(self, family_id: int) -> Mapping[str, NDArray[Any]] | None:
        """Return the policy's parameters and scales after a family's last practice; None if there are none.

        Damaged ones are left out, logged and recorded as damage of the store. Rehearsal then uses the action
        distributions with which the trials were played. ``learnd doctor --repair`` drops the row.

        Args:
            family_id: id of the family (``Family.id``).
        """
        row = self._connection.row("SELECT * FROM rehearsal_teachers WHERE id = ?", (family_id,))
        if row is None:
            return None
        if not is_intact("rehearsal_teachers", row):
            if self._connection.is_reader or self._damage.note(row_problem("rehearsal_teachers", family_id)):
                log.warning("the damaged teacher of family %d is left out of rehearsal", family_id)
            return None
        from safetensors.numpy import load

        parameters: Mapping[str, NDArray[Any]] = load(row["parameters"])
        return parameters

    def remove(self, family_id: int) -> int:
        """Empty a family's reservoir; return the number of trials that were in it. Prune may then remove them."""
        with self._connection.transaction("emptying a rehearsal reservoir"):
            return free_slots(self._connection, family_id)

    def _loaded(self, row: Row, episodes: list[Row]) -> RehearsalTrial | None:
        """Return a trial, or None if it is damaged."""
        try:
            trial = verified_trial(row, episodes)
        except CorruptFileError as error:
            self._note(row["id"], error)
            return None
        return RehearsalTrial(slot=row["slot"], trial_id=row["id"], learner_step=row["learner_step"], trial=trial)

    def _note(self, trial_id: int, error: CorruptFileError) -> None:
        problem = Problem(
            kind=ProblemKind.TRIAL,
            key=str(trial_id),
            subject=f"trial {trial_id}",
            found=error.found,
            hint=error.hint,
        )
        if self._connection.is_reader or self._damage.note(problem):
            log.warning("a damaged trial is left out of rehearsal: %s", error)
