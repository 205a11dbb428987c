"""The answers of /api/v1 about the service, its versions, jobs, events and memory, as models."""

from __future__ import annotations

from typing import Any

from agent.daemon.web.family_models import FamilyOverview
from agent.daemon.web.values import Values
from agent.reports.events import EventKind, Severity
from memory.records import InitializationState, JobKind, JobOutcome


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
    """The reason for the run, or for the choice of this family."""
    started_at: float
    progress: dict[str, Any] | None


class Status(Values):
    """The present work of the service, and the state of every family."""

    state: str
    """`starting`, `running`, `stopping` or `stopped`."""
    pid: int | None
    since: float | None
    device: str | None
    listen: str | None
    learner: Trainer | None
    health: StatusHealth
    family_files: list[FamilyFileProblem]
    needs_restart: list[str]
    """Settings that have changed and take effect at the next start."""
    data_dir: str
    last_seen_at: float | None
    has_ended_in_order: bool | None
    policy_version: int | None
    learner_steps: int
    """Learner steps that were committed: slices of practice, and repairs of candidates."""
    running: list[RunningJob]
    families: list[FamilyOverview]


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
    """The reason for its publication or rejection."""
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

    time_zone: str
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


class QuarantineValues(Values):
    """A quarantine of a family."""

    family: str
    began_at: float
    until: float
    """Its end; in the future if it lasts."""
    reason: str


class Quarantines(Values):
    """The newest quarantines, newest first."""

    quarantines: list[QuarantineValues]


class HealthReason(Values):
    """A reason for red health."""

    reason: str
    found: str
    hint: str
    """The way to repair it."""


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
