"""The answers of /api/v1 as models, from which the OpenAPI document is generated.

The answers themselves are the values that the commands print with ``--json``. They are not converted by these models,
which would cost time in every answer; tests hold the two together. Times are seconds since the epoch (UTC).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from agent.reports.continual import ScoreUnit
from agent.reports.events import EventKind, Severity
from agent.reports.family_curves import XAxis
from memory.records import CurveMetric, FamilyState, InitializationState, JobKind, JobOutcome


class Values(BaseModel):
    """JSON values with exactly these fields."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Failure(Values):
    """An error answer."""

    operation: str
    """The operation that failed."""
    subject: str
    found: str
    """The finding that differs from the expected one."""
    hint: str
    """What can be done."""


class Failed(Values):
    """The body of every answer with a status of 400 or more."""

    error: Failure


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
    """What the family had reached minus `performance`."""
    trial_return: float | None
    """Mean return of a trial in the newest slice of practice."""
    evaluated_at: float | None
    strikes: int
    """Faults in a row."""
    quarantined_until: float | None
    reference_failure: ReferenceFailure | None


class Trainer(Values):
    """The trainer process."""

    state: str
    pid: int | None
    phase: str | None


class StatusHealth(Values):
    """The health of the service, in short; `health` has the hints apart."""

    is_healthy: bool
    reasons: list[str]


class FamilyFileProblem(Values):
    """A family file that cannot be used."""

    file: str
    found: str


class RunningJob(Values):
    """A job that runs now."""

    run_id: int
    job: JobKind
    family: str | None
    reason: str
    """Why it runs, or why this family was chosen."""
    started_at: float
    progress: dict[str, Any] | None


class Status(Values):
    """What the service does now and the state of every family."""

    state: str
    """`starting`, `running`, `stopping` or `stopped`."""
    pid: int | None
    since: float | None
    device: str | None
    listen: str | None
    learner: Trainer | None
    health: StatusHealth
    family_files: list[FamilyFileProblem]
    data_dir: str
    last_seen_at: float | None
    has_ended_in_order: bool | None
    policy_version: int | None
    learner_steps: int
    """Slices of practice that were committed."""
    running: list[RunningJob]
    families: list[FamilyOverview]


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
    """What was measured before the first practice."""

    start: str
    """What the policy began with: `fresh`, `copied`, `nearest` or `shared`."""
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
    """Returns of the first episode in tasks that were met, with and without the memory."""
    zero_shot: ZeroShot | None = None
    forward_transfer: ForwardTransfer | None = None
    lent_score: LentScore | None = None
    last_runs: list[LastRun]
    reference: Reference


class Trend(Values):
    """The newest evaluations of a family, oldest first."""

    name: str
    metric: CurveMetric
    """`eval_score`; `eval_return` of a family without a scale."""
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
    """Slices of the whole service until then: an axis that all families share."""


class Curves(Values):
    """A learning curve of one family."""

    name: str
    metric: CurveMetric
    """The metric of the points; `eval_return` in place of `eval_score` for a family without a scale."""
    points: list[Point]
    """All points, by label, oldest first."""
    first_episodes: list[Point]
    """Held-out return by episode of the trial, at the first evaluation."""
    latest_episodes: list[Point]
    """The same, at the newest evaluation."""


class GateScore(Values):
    """The held-out returns of a candidate on one family, with the published version's on the same tasks."""

    family: str
    score: float | None
    standard_error: float | None
    published_score: float | None
    num_trials: int
    mean_return: float | None
    return_standard_error: float | None
    published_return: float | None
    difference_standard_error: float | None


class Version(Values):
    """A published version, or a candidate that was rejected."""

    version: int | None
    """Its number; null for a rejected candidate."""
    state: InitializationState
    is_current: bool
    parent: int | None
    """The version that it was meant to replace."""
    created_at: float
    reason: str
    """Why it was published or rejected."""
    mean_score: float | None
    scores: list[GateScore]
    provenance: dict[str, Any]
    sha256: str
    size_bytes: int


class Versions(Values):
    """Published versions and rejected candidates, newest first."""

    versions: list[Version]


class ScheduledJob(Values):
    """The schedule of one kind of job."""

    job: JobKind
    trigger: str
    last_started_at: float | None
    last_outcome: JobOutcome | None
    last_success_at: float | None
    next_due_at: float | None


class TimeShare(Values):
    """The trainer's time in the last hour, of one kind of job and family."""

    job: JobKind
    family: str | None
    runs: int
    seconds: float
    share: float
    budget: float | None


class Run(Values):
    """A run of a job."""

    run_id: int
    job: JobKind
    family: str | None
    reason: str
    outcome: JobOutcome | None
    """null while it runs."""
    started_at: float
    finished_at: float | None
    detail: dict[str, Any]
    error: str


class Jobs(Values):
    """When jobs are due, what took the trainer's time, and the last runs."""

    jobs: list[ScheduledJob]
    times: list[TimeShare]
    runs: list[Run]


class EventValues(Values):
    """An event."""

    at: float
    kind: EventKind
    severity: Severity
    family: str | None
    title: str
    text: str


class Events(Values):
    """The newest events, newest first."""

    events: list[EventValues]


class HealthReason(Values):
    """A reason for red health."""

    reason: str
    found: str
    hint: str
    """What to do."""


class Health(Values):
    """The health of the service; the body is that of /healthz."""

    status: str
    """`ok` or `red`."""
    reasons: list[HealthReason]


class FamilyMemoryValues(Values):
    """A family's part of the episodic memory."""

    family: str
    trials: int
    episodes: int
    size_bytes: int
    rehearsal_trials: int
    oldest_at: float | None
    newest_at: float | None


class Memory(Values):
    """The episodic memory, and the space that the store takes on the disk."""

    families: list[FamilyMemoryValues]
    database_bytes: int
    free_bytes: int
    wal_bytes: int
    parameters_bytes: int
    disk_free_bytes: int
    trials: int
    episodes: int
    size_bytes: int


class MatrixPoint(Values):
    """One evaluation of a family."""

    learner_steps: int | None
    at: float
    env_steps: int
    meta_updates: int
    score: float
    is_practised: bool
    """Whether the family was practised since the evaluation before."""


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
