"""The curves of one family, their axes and their labels, for every kind of plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from agent.output.visible_text import visible_line
from memory.records import CurveMetric, StoredCurvePoint

LOWEST_SCORE_SHOWN = -1.0
"""Lower scores are outside the plot: in an untrained regression, a step of adaptation can cause very large errors."""

METRIC_LABELS = {
    CurveMetric.EVAL_SCORE: "score",
    CurveMetric.EVAL_RETURN: "held-out trial return",
    CurveMetric.TRIAL_RETURN: "trial return in practice",
    CurveMetric.EPISODE_RETURN: "held-out episode return",
    CurveMetric.LOSS: "loss",
    CurveMetric.ZERO_SHOT_SCORE: "score before the first practice",
    CurveMetric.ZERO_SHOT_RETURN: "trial return before the first practice",
    CurveMetric.MET_RETURN: "first episode's return in met tasks",
    CurveMetric.MET_TRIAL_RETURN: "trial return in met tasks",
    CurveMetric.FRESH_RETURN: "trial return of new parameters",
    CurveMetric.FORWARD_TRANSFER: "forward transfer",
    CurveMetric.PERFORMANCE: "mean score of the last evaluations",
    CurveMetric.FORGETTING: "forgetting",
    CurveMetric.REHEARSAL_KL: "KL of rehearsal",
    CurveMetric.REHEARSAL_SHARE: "share of rehearsal",
    CurveMetric.LENT_SCORE: "score by another family's learner",
    CurveMetric.UNCERTAINTY: "uncertainty about held-out tasks",
}


class XAxis(StrEnum):
    """The horizontal axis of a curve."""

    ENV_STEPS = "env_steps"
    TIME = "time"
    LEARNER_STEPS = "learner_steps"
    """The learner steps that the whole service had committed: slices of practice, and repairs of candidates."""


@dataclass(frozen=True, kw_only=True)
class FamilyCurves:
    """The curves of one family.

    Attributes:
        family: name of the family.
        metric: the metric of the curve; for a family without a scale, returns instead of scores.
        subtitle: a short description of the family's state.
        lines: points of the metric by label (empty label: one line), oldest first.
        first_episodes: held-out return by episode of the trial, at the first evaluation.
        latest_episodes: the same, at the latest evaluation.
        is_by_shots: whether the family is a few-shot family, whose returns are by number of shots instead of episode.
            The labels of the points are the numbers of shots.
        random_episode_return: mean return of an episode with random actions; None if unknown.
    """

    family: str
    metric: CurveMetric = CurveMetric.EVAL_SCORE
    subtitle: str = ""
    lines: Mapping[str, Sequence[StoredCurvePoint]] = field(default_factory=dict)
    first_episodes: Sequence[StoredCurvePoint] = ()
    latest_episodes: Sequence[StoredCurvePoint] = ()
    is_by_shots: bool = False
    random_episode_return: float | None = None


def position(point: StoredCurvePoint, axis: XAxis) -> float | None:
    """Return the position of a point on the axis; None if it is not known. Times are seconds since the epoch."""
    if axis is XAxis.TIME:
        return point.at
    if axis is XAxis.LEARNER_STEPS:
        return None if point.learner_steps is None else float(point.learner_steps)
    return float(point.env_steps)


def x_values(points: Sequence[StoredCurvePoint], axis: XAxis) -> list[float]:
    """Return the positions of the points on the axis. Points without a position are left out."""
    return [x for point in points if (x := position(point, axis)) is not None]


def drawable(
    lines: Mapping[str, Sequence[StoredCurvePoint]], axis: XAxis = XAxis.ENV_STEPS
) -> dict[str, list[StoredCurvePoint]]:
    """Return the lines without points that are not finite or have no position on the axis. Empty lines are left out."""

    def is_drawable(point: StoredCurvePoint) -> bool:
        return math.isfinite(point.point.value) and position(point, axis) is not None

    finite = {label: [point for point in points if is_drawable(point)] for label, points in lines.items()}
    return {label: points for label, points in finite.items() if points}


def line_label(family: FamilyCurves, label: str) -> str:
    """Return the label of a line for users: the number of shots, the episode counted from 1, or the label itself."""
    if label.isdigit() and (family.is_by_shots or family.metric is CurveMetric.UNCERTAINTY):
        return f"{label} shots"
    if family.metric is CurveMetric.EPISODE_RETURN and label.isdigit():
        return f"episode {int(label) + 1}"
    return visible_line(label)
