"""Runs of jobs: the lane in which a job runs, the running job and its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from agent.daemon.next_job import Work
from memory.records import JobOutcome


class Lane(StrEnum):
    """A place that runs one job at a time."""

    TRAINER = "learner"
    DAEMON = "control"


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
    """

    outcome: JobOutcome
    detail: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    is_trainer_exit: bool = False


class StoppingError(Exception):
    """An error: the daemon stops, and the current work is abandoned."""
