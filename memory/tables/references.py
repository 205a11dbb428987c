"""Measured reference returns: written once for a family, together with the scores of its earlier returns."""

from __future__ import annotations

import math

from envs.family import FamilySpec
from memory.connection import StoreConnection, to_json
from memory.errors import ANOTHER_REFERENCE_HINT, CorruptFileError, FamilyNotFoundError, ReferenceExistsError
from memory.records import FailureStreak, Family, FamilyState
from memory.repair_hint import STOP_AND_REPAIR
from memory.row_checksums import seal
from memory.tables.families import FamilyTable
from memory.tables.reference_failures import reference_failures

_SCORES_OF_RETURNS = {"eval_return": "eval_score", "zero_shot_return": "zero_shot_score"}
"""The metrics of returns that become scores."""

# The points are inserted in the order of the returns that they are computed from, because curves are read by id.
_SCORES = """
INSERT INTO curve_points
    (family_id, metric, label, value, standard_error, env_steps, meta_updates, at, learner_steps)
SELECT family_id, :score, label, (value - :random) / :span, standard_error / :span, env_steps, meta_updates, at,
    learner_steps
FROM curve_points WHERE family_id = :family AND metric = :returned ORDER BY id
"""
_LATEST_SCORES = """
INSERT OR REPLACE INTO latest_points
    (family_id, metric, label, value, standard_error, env_steps, meta_updates, at, learner_steps)
SELECT family_id, :score, label, (value - :random) / :span, standard_error / :span, env_steps, meta_updates, at,
    learner_steps
FROM latest_points WHERE family_id = :family AND metric = :returned
"""
_TRANSFER = """
SELECT zero_shot.value - fresh.value AS difference, zero_shot.standard_error AS error,
    fresh.standard_error AS fresh_error, zero_shot.env_steps, zero_shot.meta_updates, zero_shot.at,
    zero_shot.learner_steps
FROM latest_points AS zero_shot JOIN latest_points AS fresh USING (family_id)
WHERE family_id = ? AND zero_shot.metric = 'zero_shot_return' AND fresh.metric = 'fresh_return'
ORDER BY zero_shot.at DESC LIMIT 1
"""
_INSERT_TRANSFER = """
INSERT OR REPLACE INTO %s
    (family_id, metric, label, value, standard_error, env_steps, meta_updates, at, learner_steps)
VALUES (?, 'forward_transfer', '', ?, ?, ?, ?, ?, ?)
"""
_OTHER_UNITS = "DELETE FROM %s WHERE family_id = :family AND metric IN ('performance', 'forgetting')"
"""They were in units of what the family had reached. The next evaluation computes them from its returns as scores."""


class ReferenceTable:
    """The measured reference returns of a store's families. A reference is a part of its family's row."""

    def __init__(self, connection: StoreConnection, families: FamilyTable) -> None:
        self._connection = connection
        self._families = families

    def failures(self) -> dict[str, FailureStreak]:
        """Return the failures in a row of each family whose reference could not be measured, by the family's name."""
        return {name: FailureStreak(**values) for name, values in reference_failures(self._connection).items()}

    def record(self, family: Family, reference_return: float | None, *, spec: FamilySpec) -> Family:
        """Record a family's measurement, and convert its held-out returns so far to scores, in one transaction.

        Measures of performance and forgetting in other units are removed.

        Args:
            family: the family that was measured, as it was read before.
            reference_return: the trial return that scores 1 from now on; None for a measurement that gave no reference,
                of which only the spec is recorded.
            spec: the family's new spec, with the provenance of the measurement.

        Raises:
            FamilyNotFoundError: the family was removed meanwhile.
            ReferenceExistsError: the family has a reference, which never changes.
            CorruptFileError: the family's row is damaged.
            ValueError: the reference is not above the return of random actions.
        """
        with self._connection.transaction("recording a reference return"):
            random_return = self._present(family).random_return or 0.0
            if reference_return is not None and not reference_return > random_return:
                raise ValueError(f"the reference {reference_return:g} is not above the random return {random_return:g}")
            self._connection.execute(
                "UPDATE families SET reference_return = ?, spec = ? WHERE id = ?",
                (reference_return, to_json(spec.to_json()), family.id),
            )
            seal(self._connection, "families", family.id)
            if reference_return is not None:
                self._score(family.id, random_return, span=reference_return - random_return)
            return self._families.get(family.name)

    def _score(self, family_id: int, random_return: float, *, span: float) -> None:
        """Add the scores of the family's returns and its forward transfer, and remove measures in other units."""
        for returned, score in _SCORES_OF_RETURNS.items():
            values = {"family": family_id, "random": random_return, "span": span, "returned": returned, "score": score}
            self._connection.execute(_SCORES, values)
            self._connection.execute(_LATEST_SCORES, values)
        transfer = self._connection.row(_TRANSFER, (family_id,))
        for table in ("curve_points", "latest_points"):
            self._connection.execute(_OTHER_UNITS % table, {"family": family_id})
            if transfer is not None and transfer["difference"] is not None:
                error = math.hypot(transfer["error"] or 0.0, transfer["fresh_error"] or 0.0)
                position = (transfer[name] for name in ("env_steps", "meta_updates", "at", "learner_steps"))
                point = (family_id, transfer["difference"] / span, error / span, *position)
                self._connection.execute(_INSERT_TRANSFER % table, point)

    def _present(self, family: Family) -> Family:
        """Return the family as it is now, if its reference may be written."""
        present = self._families.get(family.name)
        if present.id != family.id or present.state is FamilyState.REMOVED:
            raise FamilyNotFoundError(
                operation="recording a reference return",
                subject=family.name,
                found="the family that was measured has been removed.",
            )
        if present.is_damaged:
            raise CorruptFileError(
                operation="recording a reference return",
                subject=family.name,
                found=f"{present.state_reason}.",
                hint=STOP_AND_REPAIR,
            )
        if present.reference_return is not None:
            raise ReferenceExistsError(
                operation="recording a reference return",
                subject=family.name,
                found=f"it has the reference {present.reference_return:g}, which never changes.",
                hint=ANOTHER_REFERENCE_HINT,
            )
        return present
