"""Runs of jobs: the lane in which a job runs, the running job and its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from agent.daemon.scheduling.next_job import DAEMON_KINDS, Work
from agent.messages import FOUND_NOTHING, Finished
from memory.records import JobKind, JobOutcome


class Lane(StrEnum):
    """A place that runs one job at a time."""

    TRAINER = "learner"
    DAEMON = "control"
    REFERENCE = "reference"


def lane_of(kind: JobKind) -> Lane:
    """Return the lane that runs a kind of job."""
    if kind is JobKind.REFERENCE:
        return Lane.REFERENCE
    return Lane.DAEMON if kind in DAEMON_KINDS else Lane.TRAINER


@dataclass(frozen=True, kw_only=True)
class Running:
    """A running job.

    Attributes:
        work: the job.
        run_id: id of its row in the store.
        started_at: its start, in seconds since the epoch.
    """

    work: Work
    run_id: int
    started_at: float


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The result of a run.

    Attributes:
        outcome: how the run ended.
        detail: the job's report.
        error: the reason of a failure or an interruption; empty if there was none.
        is_trainer_exit: whether the trainer exited in the run, and not because the daemon stops.
        with_results: families whose plays in the background have ended, or that have a place to begin one.
    """

    outcome: JobOutcome
    detail: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    is_trainer_exit: bool = False
    with_results: tuple[str, ...] = ()

    @property
    def is_family_fault(self) -> bool:
        """Return whether the run failed only through faults of families, which are recorded as their strikes.

        The practise job reports ``fault``, the evaluate job ``faults`` by family.
        """
        is_failure = self.outcome is JobOutcome.FAILED and not self.error
        return is_failure and not self.detail.keys().isdisjoint({"fault", "faults"})

    @property
    def is_under_way(self) -> bool:
        """Return whether the family is played in the background: the run ended without a result of its own."""
        return bool(self.detail.get("under_way"))

    @property
    def is_empty_poll(self) -> bool:
        """Return whether the run only asked for the result of a play that goes on, and so has nothing to record."""
        return bool(self.detail.get(FOUND_NOTHING))

    @classmethod
    def of(cls, finished: Finished) -> RunResult:
        """Return the result that a process reported."""
        return cls(
            outcome=finished.outcome,
            detail=finished.detail,
            error=finished.error,
            with_results=finished.with_results,
        )
