"""``learnd schedule``: shows due times and last runs of jobs, and requests a job."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from agent.cli.console import PlainConsole
from agent.cli.errors import CommandError, unknown_name_error
from agent.cli.invocation import NO_DATA, Invocation, command, find_family, group
from agent.cli.output import in_colour, last_line, new_table, progress_text
from agent.config.units import format_duration
from agent.job_requests import FOR_ONE_FAMILY, MAY_BE_FOR_ONE_FAMILY, RUN_JOB, payload_of
from agent.output.quantities import NOTHING, ago, short_duration
from agent.reports.schedule_values import LATELY_S, ScheduleReport, due_at, read_schedule, schedule_values
from memory.errors import ANOTHER_REFERENCE_HINT
from memory.records import Family, JobKind, JobRun

schedule_app = typer.Typer(help="Show when jobs are due, and request a job.", no_args_is_help=True)
group(schedule_app)


@command(
    schedule_app,
    "list",
    examples=(
        "learnd schedule list",
        "learnd schedule list --runs 50",
    ),
)
def list_schedule(
    invocation: Invocation,
    runs: Annotated[int, typer.Option(min=0, help="Number of last runs to show.")] = 10,
) -> None:
    """List the jobs: when each is due, when it last ran, and the outcome of that run; and what takes the time."""
    from agent.config.local_time import zone_name
    from agent.config.time_shares import time_shares

    budgets = time_shares(invocation.settings)
    with invocation.reading_if_any() as store:
        zone = zone_name(invocation.settings.service.time_zone)
        found = read_schedule(store, budgets=budgets, num_runs=runs, now=time.time(), time_zone=zone)
    invocation.answer(schedule_values(found), lambda out: out.print(NO_DATA) if store is None else _show(out, found))


@command(
    schedule_app,
    "run-now",
    examples=(
        "learnd schedule run-now consolidate",
        "learnd schedule run-now evaluate --family cartpole",
    ),
)
def run_now(
    invocation: Invocation,
    job: Annotated[str, typer.Argument(metavar="JOB", help=f"One of {', '.join(JobKind)}.")],
    family: Annotated[str | None, typer.Option(metavar="NAME", help="Run the job for this family only.")] = None,
) -> None:
    """Request a job. It runs as soon as its process is free or, if the daemon is stopped, after its next start."""
    if job not in set(JobKind):
        raise unknown_name_error(operation="requesting job", subject=job, kind="job", known=list(JobKind))
    kind = JobKind(job)
    if family is not None and kind not in MAY_BE_FOR_ONE_FAMILY:
        raise typer.BadParameter(f"{kind} is for all families", param_hint="--family")
    if family is None and kind in FOR_ONE_FAMILY:
        raise typer.BadParameter(f"{kind} needs the family's name", param_hint="--family")
    with invocation.writing() as store:
        if family is not None:
            found = find_family(store, family, operation=f"requesting job {kind} for family")
            _refuse_vain_measurement(kind, found)
        request_id = store.requests.add(RUN_JOB, payload_of(kind, family))
    pid = invocation.folder.holder_pid()
    when = _when_free(kind) if pid is not None else "after the next start of the daemon"
    invocation.answer(
        {"request_id": request_id, "job": kind, "family": family, "is_daemon_running": pid is not None},
        lambda out: out.print(f"requested {kind}: it runs {when}"),
    )


def _when_free(kind: JobKind) -> str:
    """Return what a requested job waits for."""
    from agent.daemon.scheduling.next_job import DAEMON_KINDS

    if kind is JobKind.REFERENCE:
        return "as soon as no other measurement runs"
    others = " or ".join(sorted(DAEMON_KINDS - {kind}))
    return f"at once, or after a {others} that runs" if kind in DAEMON_KINDS else "as soon as the trainer is free"


def _refuse_vain_measurement(kind: JobKind, family: Family) -> None:
    """Raise if the job would measure the reference of a family that cannot have one measured.

    Raises:
        CommandError: the reason.
    """
    from agent.reference_requests import obstacle

    why = obstacle(family) if kind is JobKind.REFERENCE else ""
    if why:
        raise CommandError(
            operation="requesting the measurement of the reference of",
            subject=family.name,
            found=f"{why}.",
            hint="" if family.reference_return is None else ANOTHER_REFERENCE_HINT,
        )


def readable_trigger(trigger: str) -> str:
    """Return a stored trigger as text: "every 4m", "cron 0 3 * * *"."""
    kind, _, value = trigger.partition(":")
    if kind == "interval":
        return f"every {format_duration(float(value))}"
    return f"{kind} {value}".strip()


def _show(out: PlainConsole, found: ScheduleReport) -> None:
    if not found.jobs and not found.runs:
        out.print("no job has run yet: the daemon writes the schedule at its first start (learnd run)")
        return
    jobs = new_table("job", "trigger", "last run", "outcome", "last success", "due")
    for job in found.jobs:
        summary = found.summaries[job.kind]
        outcome = in_colour(str(summary.last_run.outcome)) if summary.last_run is not None else NOTHING
        jobs.add_row(
            job.kind,
            readable_trigger(job.trigger),
            ago(job.last_started_at),
            outcome,
            ago(summary.last_success_at),
            ago(due_at(job)),
        )
    out.print(jobs)
    out.print(f"time zone of cron lines and windows: {found.time_zone}")
    if found.times:
        out.print(_times_table(found.times))
    if found.runs:
        out.print(_runs_table(found.runs))


def _times_table(times: Sequence[Mapping[str, Any]]) -> Any:
    title = f"the trainer's time in the last {format_duration(LATELY_S)}"
    table = new_table("job", "family", "runs", "time", "share", "budget", right=("runs", "time", "share"), title=title)
    for entry in times:
        budget = NOTHING if entry["budget"] is None else f"{entry['budget']:.0%}"
        table.add_row(
            entry["job"],
            entry["family"] or NOTHING,
            str(entry["runs"]),
            short_duration(entry["seconds"]),
            f"{entry['share']:.0%}",
            budget,
        )
    return table


def _runs_table(runs: Sequence[JobRun]) -> Any:
    table = new_table(
        "run",
        "job",
        "family",
        "outcome",
        "started",
        "took",
        "reason",
        right=("run",),
        title="last runs: why, or what went wrong",
    )
    for run in runs:
        took = None if run.finished_at is None else run.finished_at - run.started_at
        table.add_row(
            str(run.id),
            run.kind,
            run.family or NOTHING,
            in_colour(str(run.outcome)) if run.outcome is not None else "running",
            ago(run.started_at),
            short_duration(took),
            last_line(run.problem) if run.problem else run.reason + _progress(run) + _under_way(run),
        )
    return table


def _under_way(run: JobRun) -> str:
    """Return that a run's family is played in the background, as text; empty if it is not."""
    under_way = run.detail.get("under_way")
    text = ", ".join(under_way) if isinstance(under_way, list) else under_way
    return f"; in the background: {text}" if text else ""


def _progress(run: JobRun) -> str:
    """Return the progress of a run that has not ended, as text; empty if it reports none."""
    return progress_text(run.detail) if run.outcome is None else ""
