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


def x_values(points: Sequence[StoredCurvePoint], axis: XAxis) -> list[float]:
    """Return the positions of the points on the axis: environment steps, or seconds since the epoch."""
    return [point.at if axis is XAxis.TIME else float(point.env_steps) for point in points]


def drawable(lines: Mapping[str, Sequence[StoredCurvePoint]]) -> dict[str, list[StoredCurvePoint]]:
    """Return the lines without non-finite points. Lines without a finite point are left out."""
    finite = {label: [p for p in points if math.isfinite(p.point.value)] for label, points in lines.items()}
    return {label: points for label, points in finite.items() if points}


def line_label(family: FamilyCurves, label: str) -> str:
    """Return the label of a line for users: the number of shots, the episode counted from 1, or the label itself."""
    if label.isdigit() and (family.is_by_shots or family.metric is CurveMetric.UNCERTAINTY):
        return f"{label} shots"
    if family.metric is CurveMetric.EPISODE_RETURN and label.isdigit():
        return f"episode {int(label) + 1}"
    return visible_line(label)
