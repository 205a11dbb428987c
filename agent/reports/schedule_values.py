"""The JSON values of the schedule: when jobs are due, what takes the trainer's time, and the last runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memory.records import JobKind, JobRun, JobSchedule, JobSummary, JobTime

if TYPE_CHECKING:
    from memory.store import Store

LATELY_S = 3600.0
"""The time whose runs are added up, in seconds."""

NOT_OF_TRAINER = frozenset({JobKind.PRUNE, JobKind.BACKUP, JobKind.VERIFY, JobKind.REFERENCE})
"""The kinds of jobs that do not take the trainer's time."""

OFF = "off"
"""The trigger of a kind of job that runs on request only."""


@dataclass(frozen=True, kw_only=True)
class ScheduleReport:
    """The schedule of all jobs, with what lately took the trainer's time.

    Attributes:
        jobs: the schedule of each kind, sorted by due time.
        summaries: the newest run and success of each kind.
        times: the trainer's time by kind of job and family, as JSON values.
        runs: the last runs, newest first.
        time_zone: the zone of cron lines and windows.
    """

    time_zone: str
    jobs: Sequence[JobSchedule] = ()
    summaries: Mapping[JobKind, JobSummary]
    times: Sequence[Mapping[str, Any]]
    runs: Sequence[JobRun] = ()


def read_schedule(
    store: Store | None, *, budgets: Mapping[JobKind, float], num_runs: int, now: float, time_zone: str
) -> ScheduleReport:
    """Return the schedule of a store; an empty one if there is no store.

    Args:
        store: the store.
        budgets: the share of the trainer's time that kinds of jobs may take.
        num_runs: number of last runs.
        now: the present time, in seconds since the epoch.
        time_zone: the zone of cron lines and windows where no service has said it.
    """
    if store is None:
        return ScheduleReport(time_zone=time_zone, summaries={}, times=())
    running = store.daemon_status.get() or {}
    return ScheduleReport(
        time_zone=str(running.get("time_zone") or time_zone),
        jobs=store.jobs.schedule(),
        summaries={summary.kind: summary for summary in store.jobs.summaries()},
        times=_time_values(store.jobs.time_taken(now - LATELY_S), budgets),
        runs=store.jobs.runs(limit=num_runs),
    )


def schedule_values(found: ScheduleReport) -> dict[str, Any]:
    """Return the JSON values of the schedule."""
    return {
        "time_zone": found.time_zone,
        "jobs": [_job_values(job, found.summaries[job.kind]) for job in found.jobs],
        "times": list(found.times),
        "runs": [_run_values(run) for run in found.runs],
    }


def _job_values(job: JobSchedule, summary: JobSummary) -> dict[str, Any]:
    return {
        "job": job.kind,
        "trigger": job.trigger,
        "last_started_at": job.last_started_at,
        "last_outcome": None if summary.last_run is None else summary.last_run.outcome,
        "last_success_at": summary.last_success_at,
        "next_due_at": due_at(job),
    }


def _time_values(taken: Sequence[JobTime], budgets: Mapping[JobKind, float]) -> list[dict[str, Any]]:
    """Return the trainer's time by kind of job and family, with its share and the share that it may have."""
    of_trainer = [entry for entry in taken if entry.kind not in NOT_OF_TRAINER]
    total_s = sum(entry.seconds for entry in of_trainer)
    return [
        {
            "job": entry.kind,
            "family": entry.family,
            "runs": entry.num_runs,
            "seconds": entry.seconds,
            "share": entry.seconds / total_s if total_s > 0 else 0.0,
            "budget": budgets.get(entry.kind),
        }
        for entry in of_trainer
    ]


def due_at(job: JobSchedule) -> float | None:
    """Return the time at which a kind of job is due next; None if its trigger is off."""
    return None if job.trigger == OFF else job.next_due_at


def _run_values(run: JobRun) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "job": run.kind,
        "family": run.family,
        "reason": run.reason,
        "outcome": run.outcome,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "detail": run.detail,
        "error": run.error,
    }
