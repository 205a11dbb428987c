"""A score matrix by hand: one family that is forgotten, one that is kept, one without a reference, one not measured."""

from __future__ import annotations

from agent.reports.continual import Measures, ScoreUnit
from agent.reports.family_curves import XAxis
from agent.reports.score_matrix import MatrixCell, MatrixRow, ScoreMatrix
from envs.family import FamilySource, FamilySpec
from memory.records import CurveMetric, CurvePoint, Family, FamilyState, FamilyTotals, StoredCurvePoint


def family(name: str) -> Family:
    return Family(
        id=1,
        name=name,
        state=FamilyState.ACTIVE,
        state_reason="",
        spec=FamilySpec(name=name, source=FamilySource.GYMNASIUM, entry="CartPole-v1"),
        spaces={},
        random_return=0.0,
        reference_return=1.0,
        strikes=0,
        quarantined_until=None,
        totals=FamilyTotals(meta_updates=3),
        created_at=0.0,
    )


def cell(steps: int, score: float, *, is_practised: bool = False, axis: XAxis = XAxis.LEARNER_STEPS) -> MatrixCell:
    at = 1_790_000_000.0 + 10 * steps
    point = StoredCurvePoint(
        family="f",
        point=CurvePoint(metric=CurveMetric.EVAL_RETURN, value=score),
        env_steps=0,
        meta_updates=1,
        at=at,
        learner_steps=steps,
    )
    x = at if axis is XAxis.TIME else float(steps)
    return MatrixCell(x=x, score=score, point=point, is_practised=is_practised)


def matrix(axis: XAxis = XAxis.LEARNER_STEPS) -> ScoreMatrix:
    """Return scores over 40 learner steps."""
    forgotten = [(10, 0.35, True), (20, 0.97, True), (30, 0.02, False), (40, -0.4, False)]
    kept = [(20, 0.1, False), (30, 0.5, True), (40, 1.3, True)]

    def cells(values: list[tuple[int, float, bool]]) -> tuple[MatrixCell, ...]:
        return tuple(cell(steps, score, is_practised=practised, axis=axis) for steps, score, practised in values)

    return ScoreMatrix(
        axis=axis,
        rows=(
            MatrixRow(
                family=family("forgotten"),
                unit=ScoreUnit.REFERENCE,
                cells=cells(forgotten),
                measures=Measures(unit=ScoreUnit.REFERENCE, reached=0.97, performance=-0.4),
            ),
            MatrixRow(
                family=family("kept"),
                unit=ScoreUnit.REFERENCE,
                cells=cells(kept),
                measures=Measures(unit=ScoreUnit.REFERENCE, reached=1.3, performance=1.3),
                forward_transfer=0.125,
            ),
            MatrixRow(
                family=family("unscaled"),
                unit=ScoreUnit.REACHED,
                cells=cells([(40, 1.0, True)]),
                measures=Measures(unit=ScoreUnit.REACHED, reached=1.0, performance=1.0),
            ),
            MatrixRow(family=family("new"), unit=None),
        ),
    )
