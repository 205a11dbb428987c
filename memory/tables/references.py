"""Measured reference returns: written once for a family, together with the scores of its earlier returns."""

from __future__ import annotations

from envs.family import FamilySpec
from memory.connection import StoreConnection, to_json
from memory.errors import CorruptFileError, FamilyNotFoundError, ReferenceExistsError
from memory.records import FailureStreak, Family, FamilyState
from memory.row_checksums import seal
from memory.tables.families import DAMAGED_HINT, FamilyTable
from memory.tables.reference_failures import reference_failures

# The points are inserted in the order of the returns that they are computed from, because curves are read by id.
_SCORES = """
INSERT INTO curve_points
    (family_id, metric, label, value, standard_error, env_steps, meta_updates, at, learner_steps)
SELECT family_id, 'eval_score', label, (value - :random) / :span, standard_error / :span, env_steps, meta_updates, at,
    learner_steps
FROM curve_points WHERE family_id = :family AND metric = 'eval_return' ORDER BY id
"""
_LATEST_SCORES = """
INSERT OR REPLACE INTO latest_points
    (family_id, metric, label, value, standard_error, env_steps, meta_updates, at, learner_steps)
SELECT family_id, 'eval_score', label, (value - :random) / :span, standard_error / :span, env_steps, meta_updates, at,
    learner_steps
FROM latest_points WHERE family_id = :family AND metric = 'eval_return'
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
            ReferenceExistsError: the family has a reference, which never moves.
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
                scale = {"family": family.id, "random": random_return, "span": reference_return - random_return}
                self._connection.execute(_SCORES, scale)
                self._connection.execute(_LATEST_SCORES, scale)
                for table in ("curve_points", "latest_points"):
                    self._connection.execute(_OTHER_UNITS % table, {"family": family.id})
            return self._families.get(family.name)

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
                hint=DAMAGED_HINT,
            )
        if present.reference_return is not None:
            raise ReferenceExistsError(
                operation="recording a reference return",
                subject=family.name,
                found=f"it has the reference {present.reference_return:g}, which never moves.",
            )
        return present
