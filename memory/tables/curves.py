"""Learning curves. One table has all points; a second one has the newest point of each series, for scrapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from memory.connection import Row, StoreConnection
from memory.records import CurveMetric, CurvePoint, Family, StoredCurvePoint
from memory.tables.families import FamilyTable

# A learner step is recorded before its points, so it counts for them.
_INSERT = (
    "INTO %s (family_id, metric, label, value, standard_error, env_steps, meta_updates, at, learner_steps)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, coalesce((SELECT max(id) FROM learner_steps), 0))"
)
_INSERT_POINT = "INSERT " + _INSERT % "curve_points"
_REPLACE_LATEST = "INSERT OR REPLACE " + _INSERT % "latest_points"


class CurveTable:
    """The learning curves of a store."""

    def __init__(self, connection: StoreConnection, families: FamilyTable) -> None:
        self._connection = connection
        self._families = families

    def commit_evaluation(self, family: str, points: Sequence[CurvePoint]) -> None:
        """Record the points of an evaluation at the family's present totals.

        Raises:
            FamilyNotFoundError: there is no family of that name.
        """
        with self._connection.transaction("recording an evaluation"):
            self.add(self._families.get(family), points, at=self._connection.clock())

    def add(self, family: Family, points: Sequence[CurvePoint], *, at: float) -> None:
        """Record points inside the caller's transaction, at the totals in ``family``."""
        for point in points:
            values = (
                family.id,
                point.metric,
                point.label,
                _or_null(point.value),
                _or_null(point.standard_error),
                family.totals.env_steps,
                family.totals.meta_updates,
                at,
            )
            self._connection.execute(_INSERT_POINT, values)
            self._connection.execute(_REPLACE_LATEST, values)

    def points(
        self, family: str, metric: CurveMetric, *, label: str | None = None, limit: int | None = None
    ) -> list[StoredCurvePoint]:
        """Return a curve's points, oldest first.

        Args:
            family: name of the family.
            metric: the measured quantity.
            label: return only points with this label; None returns points with any label.
            limit: largest number of points; the newest are returned. None returns all stored points, whose number prune
                bounds.

        Raises:
            FamilyNotFoundError: there is no family of that name.
        """
        with self._connection.snapshot():
            family_id = self._families.get(family).id
            found = self._connection.rows(
                "SELECT *, ? AS family FROM curve_points WHERE family_id = ? AND metric = ?"
                " AND (? IS NULL OR label = ?) ORDER BY id DESC LIMIT ?",
                (family, family_id, metric, label, label, -1 if limit is None else limit),
            )
        return [_stored_point(row) for row in reversed(found)]

    def latest(self) -> list[StoredCurvePoint]:
        """Return the newest point of each series of each family that is not removed."""
        found = self._connection.rows(
            "SELECT latest_points.*, families.name AS family FROM latest_points"
            " JOIN families ON families.id = family_id WHERE families.state <> 'removed'"
            " ORDER BY families.id, metric, label"
        )
        return [_stored_point(row) for row in found]

    def newest_id(self) -> int:
        """Return the id of the newest point; ids only grow. 0 if there is none."""
        return int(self._connection.value("SELECT max(id) FROM curve_points") or 0)

    def added_since(self, point_id: int) -> list[StoredCurvePoint]:
        """Return the points that were added after the one of that id, oldest first."""
        found = self._connection.rows(
            "SELECT curve_points.*, families.name AS family FROM curve_points"
            " JOIN families ON families.id = family_id WHERE curve_points.id > ? ORDER BY curve_points.id",
            (point_id,),
        )
        return [_stored_point(row) for row in found]


def _or_null(value: float | None) -> float | None:
    """Return a value for a column; None for NaN, which SQLite cannot store.

    A NULL is read back as NaN where a value is required.
    """
    return None if value is None or math.isnan(value) else float(value)


def _stored_point(row: Row) -> StoredCurvePoint:
    value = math.nan if row["value"] is None else row["value"]
    return StoredCurvePoint(
        family=row["family"],
        point=CurvePoint(
            metric=CurveMetric(row["metric"]),
            value=value,
            label=row["label"],
            standard_error=row["standard_error"],
        ),
        env_steps=row["env_steps"],
        meta_updates=row["meta_updates"],
        at=row["at"],
        learner_steps=row["learner_steps"],
    )
