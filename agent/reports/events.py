"""The newest events of the service: versions, rejections, rollbacks, families that were added, jobs that went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from memory.records import Family, Initialization, InitializationState, JobKind, JobOutcome, JobRun, Rollback

if TYPE_CHECKING:
    from memory.store import Store


class Severity(StrEnum):
    """The attention that an event needs."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class EventKind(StrEnum):
    """A kind of event."""

    VERSION = "version"
    """A version was published."""

    REJECTION = "rejection"
    """A candidate was not published."""

    ROLLBACK = "rollback"
    FAMILY = "family"
    """A family was added."""

    STRIKE = "strike"
    """A job failed through a fault of its family."""

    JOB = "job"
    """A rare job ended, or a job failed, was missed or was interrupted."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event.

    Attributes:
        at: its time, in seconds since the epoch.
        kind: its kind.
        severity: the attention that it needs.
        family: the family that it concerns; None if it concerns none or several.
        title: what happened, in a few words.
        text: the reason, the error or the result, as text for people; may be empty.
    """

    at: float
    kind: EventKind
    severity: Severity
    family: str | None
    title: str
    text: str


_SEVERITIES = {
    JobOutcome.FAILED: Severity.ERROR,
    JobOutcome.SUCCEEDED: Severity.INFO,
    JobOutcome.SKIPPED: Severity.INFO,
}


def event_values(store: Store, *, limit: int) -> dict[str, Any]:
    """Return the JSON values of the newest events, newest first.

    Args:
        store: the store.
        limit: largest number of events.
    """
    versions = store.initializations.newest(limit)
    found = [
        *_version_events(versions),
        *_rollback_events(store.initializations.rollbacks(limit=limit)),
        *_family_events(store.families.all(with_removed=True)),
        *_job_events(store.jobs.notable_runs(limit=limit)),
    ]
    newest = sorted(found, key=lambda event: event.at, reverse=True)[:limit]
    return {"events": [asdict(event) for event in newest]}


def _version_events(versions: Iterable[Initialization]) -> Iterator[Event]:
    for version in versions:
        is_rejected = version.state is InitializationState.REJECTED
        yield Event(
            at=version.created_at,
            kind=EventKind.REJECTION if is_rejected else EventKind.VERSION,
            severity=Severity.WARNING if is_rejected else Severity.INFO,
            family=None,
            title="candidate rejected" if is_rejected else f"version {version.version} published",
            text=version.reason,
        )


def _rollback_events(rollbacks: Iterable[Rollback]) -> Iterator[Event]:
    for rollback in rollbacks:
        yield Event(
            at=rollback.at,
            kind=EventKind.ROLLBACK,
            severity=Severity.WARNING,
            family=None,
            title=f"version {rollback.from_version} rolled back to {rollback.to_version}",
            text=rollback.reason,
        )


def _family_events(families: Iterable[Family]) -> Iterator[Event]:
    for family in families:
        yield Event(
            at=family.created_at,
            kind=EventKind.FAMILY,
            severity=Severity.INFO,
            family=family.name,
            title=f"family {family.name} added",
            text="",
        )


def _job_events(runs: Iterable[JobRun]) -> Iterator[Event]:
    for run in runs:
        outcome = run.outcome or JobOutcome.INTERRUPTED
        is_strike = outcome is JobOutcome.FAILED and not run.error and not {"fault", "faults"}.isdisjoint(run.detail)
        yield Event(
            at=run.finished_at or run.started_at,
            kind=EventKind.STRIKE if is_strike else EventKind.JOB,
            severity=Severity.WARNING if is_strike else _SEVERITIES.get(outcome, Severity.WARNING),
            family=run.family,
            title=f"{run.kind} {outcome}" if not is_strike else f"fault of {run.family or 'families'} in {run.kind}",
            text=run.problem or (_result(run) or run.reason),
        )


def _result(run: JobRun) -> str:
    """Return the result of a rare job that succeeded; empty if it reports none."""
    if run.kind is JobKind.ADMIT and "state" in run.detail:
        return f"{run.family} is {run.detail['state']}"
    return ""
