"""The answers of /api/v1 about families, as models."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from agent.daemon.web.values import Values
from agent.reports.continual import ScoreUnit
from agent.reports.family_curves import XAxis
from memory.records import CurveMetric, FamilyState, JobKind, JobOutcome


class ReferenceFailure(Values):
    """The failures in a row of the measurement of a reference."""

    count: int
    error: str
    ended_at: float


class FamilyOverview(Values):
    """One family: its state, its totals and its newest measurements."""

    name: str
    state: FamilyState
    state_reason: str
    env_steps: int
    """Environment steps practised."""
    trials: int
    episodes: int
    meta_updates: int
    eval_score: float | None
    """Held-out score: 0 is random actions, 1 the reference; null without a reference."""
    eval_score_standard_error: float | None
    eval_return: float | None
    """Held-out mean return of a trial."""
    eval_return_standard_error: float | None
    performance: float | None
    """Mean score of the last evaluations."""
    forgetting: float | None
    """The highest performance until the end of the last practice, minus `performance`."""
    trial_return: float | None
    """Mean return of a trial in the newest slice of practice."""
    evaluated_at: float | None
    strikes: int
    """Faults in a row."""
    quarantined_until: float | None
    reference_failure: ReferenceFailure | None


class Families(Values):
    """The families that are not removed, in the order in which they were added."""

    families: list[FamilyOverview]


class LastRun(Values):
    """A job run of a family."""

    job: JobKind
    outcome: JobOutcome | None
    started_at: float
    reason: str
    error: str
    progress: dict[str, Any] | None


class ZeroShot(Values):
    """The evaluation of a family before its first practice."""

    start: str
    """The start of the policy: `fresh`, `copied`, `nearest` or `shared`."""
    return_: float = Field(alias="return")
    return_standard_error: float | None
    score: float | None
    standard_error: float | None


class ForwardTransfer(Values):
    """The score before the first practice minus that of a policy that learned nothing."""

    score: float | None
    standard_error: float | None
    fresh_return: float
    fresh_return_standard_error: float | None


class LentScore(Values):
    """The score of another family's learner before the first practice."""

    family: str
    score: float
    standard_error: float | None


class Reference(Values):
    """The return that scores 1."""

    return_: float | None = Field(alias="return")
    source: str | None
    is_to_be_measured: bool
    steps: int | None
    measured: dict[str, Any] | None
    failure: dict[str, Any] | None


class FamilyDetail(FamilyOverview):
    """One family: its declaration, spaces, scores and last job runs."""

    spec: dict[str, Any]
    """Its declaration."""
    spaces: dict[str, Any] | None
    random_return: float | None
    """Mean return of a trial with random actions, which scores 0."""
    reference_return: float | None
    created_at: float
    episode_returns: list[float]
    """Newest held-out returns by episode of the trial; of a few-shot family, by number of shots."""
    shots: list[int] | None = None
    """The numbers of shots; only of a few-shot family."""
    met_tasks: dict[str, Any] | None = None
    """Returns of the first episode and of the trial in tasks that were met, with and without the memory."""
    zero_shot: ZeroShot | None = None
    forward_transfer: ForwardTransfer | None = None
    lent_score: LentScore | None = None
    last_runs: list[LastRun]
    reference: Reference


class Trend(Values):
    """The newest evaluations of a family, oldest first."""

    name: str
    metric: CurveMetric
    """`eval_score`; `eval_return` of a family without a reference."""
    at: list[float]
    values: list[float]


class Trends(Values):
    """The newest evaluations of every family."""

    families: list[Trend]


class Point(Values):
    """A point of a learning curve."""

    label: str
    """The episode, the part of the loss, or another label of the metric; mostly empty."""
    env_steps: int
    meta_updates: int
    at: float
    value: float | None
    standard_error: float | None
    learner_steps: int | None
    """Learner steps of the whole service until then: an axis that all families share."""


class Curves(Values):
    """A learning curve of one family."""

    name: str
    metric: CurveMetric
    """The metric of the points; `eval_return` in place of `eval_score` for a family without a reference."""
    points: list[Point]
    """All points, by label, oldest first."""
    first_episodes: list[Point]
    """Held-out return by episode of the trial, at the first evaluation."""
    latest_episodes: list[Point]
    """The same, at the newest evaluation."""


class MatrixPoint(Values):
    """One evaluation of a family."""

    learner_steps: int | None
    at: float
    env_steps: int
    meta_updates: int
    score: float
    is_practised: bool
    """True if the family was practised since the evaluation before."""


class MatrixFamily(Values):
    """The scores of one family over time."""

    name: str
    state: FamilyState
    unit: ScoreUnit | None
    reached: float | None
    performance: float | None
    forgetting: float | None
    forward_transfer: float | None
    points: list[MatrixPoint]


class Matrix(Values):
    """The scores of all families over a common axis, with forgetting and forward transfer."""

    axis: XAxis
    average_performance: float | None
    families: list[MatrixFamily]
