"""The score matrix p_i(t): the score of every family at every evaluation, on a time axis common to all families."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from agent.reports.continual import Measures, ScoreUnit, measure, retention_of, score_scale
from agent.reports.family_curves import XAxis, position
from memory.records import CurveMetric, Family, StoredCurvePoint

if TYPE_CHECKING:
    from memory.store import Store


NOISE = 0.05
"""Scores down to this far below 0 are drawn as 0."""


@dataclass(frozen=True, kw_only=True)
class MatrixCell:
    """One evaluation of a family.

    Attributes:
        x: its position on the common axis.
        score: the score, in the unit of its row.
        point: the evaluation.
        is_practised: whether the family was practised since the evaluation before.
    """

    x: float
    score: float
    point: StoredCurvePoint
    is_practised: bool

    @property
    def is_below_random(self) -> bool:
        """Return whether the score is lower than that of random actions by more than noise."""
        return self.score < -NOISE


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """The scores of one family, oldest first.

    Attributes:
        family: the family.
        unit: the unit of its scores; None if it has none, and therefore no cells.
        cells: the evaluations that have a position on the axis.
        measures: performance and forgetting; None before the first evaluation since its first practice.
        forward_transfer: None if it was not measured.
    """

    family: Family
    unit: ScoreUnit | None
    cells: tuple[MatrixCell, ...] = ()
    measures: Measures | None = None
    forward_transfer: float | None = None

    def held(self, x: float) -> MatrixCell | None:
        """Return the newest evaluation at a position; None before the first."""
        index = bisect_right(self.cells, x, key=lambda cell: cell.x)
        return self.cells[index - 1] if index else None


@dataclass(frozen=True, kw_only=True)
class ScoreMatrix:
    """The scores of all families over time.

    Attributes:
        axis: the common axis: the learner steps of the service, or time.
        rows: one row per family.
    """

    axis: XAxis
    rows: tuple[MatrixRow, ...]

    @property
    def average_performance(self) -> float | None:
        """Mean performance of the families that have a reference; None if none was measured."""
        measures = [row.measures for row in self.rows if row.measures is not None]
        found = [found.performance for found in measures if found.unit is ScoreUnit.REFERENCE]
        return fmean(found) if found else None

    @property
    def limits(self) -> tuple[float, float] | None:
        """The first and the last position of an evaluation; None if there is none."""
        positions = [cell.x for row in self.rows for cell in (*row.cells[:1], *row.cells[-1:])]
        return (min(positions), max(positions)) if positions else None

    @property
    def has_other_units(self) -> bool:
        """Return whether a family is measured in units of what it had reached."""
        return any(row.unit is ScoreUnit.REACHED for row in self.rows)


def read_matrix(store: Store, families: Sequence[Family], *, axis: XAxis) -> ScoreMatrix:
    """Return the scores of families over a common axis.

    Args:
        store: the store.
        families: the families, in the order of the rows.
        axis: the learner steps of the service, or time.
    """
    newest = store.curves.latest()
    transfers = {s.family: s.point.value for s in newest if s.point.metric is CurveMetric.FORWARD_TRANSFER}
    return ScoreMatrix(
        axis=axis,
        rows=tuple(_read_row(store, family, axis, transfers.get(family.name)) for family in families),
    )


def _read_row(store: Store, family: Family, axis: XAxis, forward_transfer: float | None) -> MatrixRow:
    found = retention_of(store, family)
    scale = score_scale(family, found)
    if scale is None:
        return MatrixRow(family=family, unit=None, forward_transfer=forward_transfer)
    points = store.curves.points(family.name, CurveMetric.EVAL_RETURN)
    before = (0, *(point.meta_updates for point in points))
    cells = [
        MatrixCell(
            x=x,
            score=scale.score(point.point.value),
            point=point,
            is_practised=point.meta_updates > num_updates,
        )
        for point, num_updates in zip(points, before, strict=False)
        if (x := position(point, axis)) is not None and math.isfinite(point.point.value)
    ]
    return MatrixRow(
        family=family,
        unit=scale.unit,
        cells=tuple(sorted(cells, key=lambda cell: cell.x)),  # the clock may have been set back
        measures=measure(family, found),
        forward_transfer=forward_transfer,
    )


def matrix_values(matrix: ScoreMatrix) -> dict[str, Any]:
    """Return the JSON values of the matrix."""
    return {
        "axis": matrix.axis,
        "average_performance": matrix.average_performance,
        "families": [_row_values(row) for row in matrix.rows],
    }


def _row_values(row: MatrixRow) -> dict[str, Any]:
    measures = row.measures
    return {
        "name": row.family.name,
        "state": row.family.state,
        "unit": row.unit,
        "reached": None if measures is None else measures.reached,
        "performance": None if measures is None else measures.performance,
        "forgetting": None if measures is None else measures.forgetting,
        "forward_transfer": row.forward_transfer,
        "points": [
            {
                "learner_steps": cell.point.learner_steps,
                "at": cell.point.at,
                "env_steps": cell.point.env_steps,
                "meta_updates": cell.point.meta_updates,
                "score": cell.score,
                "is_practised": cell.is_practised,
            }
            for cell in row.cells
        ],
    }
