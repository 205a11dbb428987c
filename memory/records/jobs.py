"""Jobs and their runs, requests to the daemon, and counters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple


class JobKind(StrEnum):
    """A kind of scheduled work; these are the only values of a metric's ``job`` label."""

    ADMIT = "admit"
    PRACTISE = "practise"
    EVALUATE = "evaluate"
    CONSOLIDATE = "consolidate"
    CHECKPOINT = "checkpoint"
    PRUNE = "prune"
    BACKUP = "backup"
    VERIFY = "verify"
    REFERENCE = "reference"


class JobOutcome(StrEnum):
    """An outcome of a job's run; these are the only values of a metric's ``outcome`` label."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    """The job had nothing to do."""

    MISSED = "missed"
    """The job was due while the daemon was down or could not start it."""

    OVERRAN = "overran"
    """The job was due again while its last run was still in progress."""

    INTERRUPTED = "interrupted"
    """The daemon stopped or the trainer exited during the run."""


NOT_RUN = frozenset({JobOutcome.MISSED, JobOutcome.OVERRAN})
"""Outcomes of runs that never started; such a run has no duration."""


@dataclass(frozen=True, kw_only=True)
class JobSchedule:
    """A schedule of one kind of job. APScheduler's timers are set from it.

    Attributes:
        trigger: "interval:SECONDS" or "cron:EXPRESSION" (five fields, local time).
        last_started_at: start of the last run; None if the job never ran.
        next_due_at: time at which the job is due next.
    """

    kind: JobKind
    trigger: str
    last_started_at: float | None
    next_due_at: float


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """A run of a job.

    Attributes:
        family: the family that the run was for; None for jobs that cover all families.
        reason: the reason for the run: "due", "requested", or the reason for the choice of the family.
        outcome: the outcome; None while the job runs.
        detail: JSON values that the job reported: while it runs, its progress if it reports any.
        error: description of the error, as text for people; empty if there was none.
    """

    id: int
    kind: JobKind
    family: str | None
    reason: str
    outcome: JobOutcome | None
    started_at: float
    finished_at: float | None
    detail: dict[str, Any]
    error: str

    @property
    def problem(self) -> str:
        """Return what went wrong, as text for people; empty if nothing did. A family's fault is in the report."""
        return self.error or (str(self.detail.get("found", "")) if self.outcome is JobOutcome.FAILED else "")


@dataclass(frozen=True, kw_only=True)
class FailureStreak:
    """A number of runs of one kind and family that failed one after another; interrupted runs are left out.

    Attributes:
        count: number of failures, at least 1.
        error: error of the newest.
        ended_at: end of the newest.
    """

    count: int
    error: str
    ended_at: float


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """A summary of one kind of job, for metrics and ``status``.

    Attributes:
        last_run: the newest run that has ended; None if there is none.
        last_verdict: the newest run that succeeded or failed; None if there is none.
        last_success: the newest run that succeeded; None if there is none.
    """

    kind: JobKind
    last_run: JobRun | None
    last_verdict: JobRun | None
    last_success: JobRun | None

    @property
    def last_success_at(self) -> float | None:
        """Time at which the newest successful run ended; None if there is none."""
        return None if self.last_success is None else self.last_success.finished_at


@dataclass(frozen=True, kw_only=True)
class JobTime:
    """The time that runs of one kind took; those for one family apart.

    Attributes:
        family: the family that the runs were for; None for jobs that cover all families.
        num_runs: number of runs.
        seconds: their total duration.
    """

    kind: JobKind
    family: str | None
    num_runs: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Request:
    """A person's request to the daemon, stored as a row."""

    id: int
    kind: str
    payload: dict[str, Any]
    created_at: float


@dataclass(frozen=True, kw_only=True)
class RequestStatus:
    """A request with its answer.

    Attributes:
        outcome: the answer, as text for people; None while the request is open.
        finished_at: time of the answer; None while the request is open.
    """

    request: Request
    outcome: str | None
    finished_at: float | None


class CounterValue(NamedTuple):
    """A value of a counter for one set of labels."""

    name: str
    labels: dict[str, str]
    value: float
