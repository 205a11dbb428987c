"""Reads and writes of the dispatcher in the store, as functions that a thread with a store runs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable

from agent.daemon.metrics.snapshot_samples import CONSOLIDATIONS, JOB_RUNS
from agent.daemon.scheduling.schedule import Entry
from memory.errors import FamilyNotFoundError
from memory.records import CurveMetric, FamilyState, JobKind, JobOutcome
from memory.store import Store

NEVER = 253402214400.0
"""Stored due time of a job that is off: the last day of the year 9999."""


def finite(due: float | None) -> float | None:
    """Return a due time in the stored form: None for a job that is off."""
    return None if due is None or math.isinf(due) else due


def overrun_recorder(entry: Entry) -> Callable[[Store], int]:
    """Return a function that records that a job was due again while it ran."""
    return lambda store: store.jobs.record_outcome(
        entry.kind,
        JobOutcome.OVERRAN,
        reason="due again while it ran",
        next_due_at=finite(entry.next_due_at),
    )


def missed_recorder(kind: JobKind, count: int, reason: str) -> Callable[[Store], None]:
    """Return a function that records that ``count`` due times of a job passed before it could start."""

    def record(store: Store) -> None:
        store.jobs.record_outcome(kind, JobOutcome.MISSED, reason=reason)
        if count > 1:
            store.counters.add(JOB_RUNS, {"job": str(kind), "outcome": str(JobOutcome.MISSED)}, count - 1)

    return record


def schedule_writer(entries: Iterable[Entry]) -> Callable[[Store], None]:
    """Return a function that stores the present triggers and due times of the entries."""
    rows = [(entry.kind, entry.trigger.stored(), min(entry.next_due_at, NEVER)) for entry in entries]

    def write(store: Store) -> None:
        for kind, trigger, due in rows:
            store.jobs.set_schedule(kind, trigger, next_due_at=due)

    return write


def state_setter(name: str, state: FamilyState, reason: str, *, until: float | None = None) -> Callable[[Store], None]:
    """Return a function that sets the state of a family; it does nothing if the family was removed meanwhile."""

    def set_state(store: Store) -> None:
        with contextlib.suppress(FamilyNotFoundError):
            store.families.set_state(name, state, reason=reason, quarantined_until=until)

    return set_state


def is_any_evaluated(store: Store) -> bool:
    """Return whether an active family has been evaluated, or no family is active."""
    active = {family.name for family in store.families.all() if family.state is FamilyState.ACTIVE}
    return not active or any(
        p.family in active and p.point.metric is CurveMetric.EVAL_RETURN for p in store.curves.latest()
    )


def settle_consolidation_counters(store: Store) -> None:
    """Count the published and rejected candidates that an earlier daemon did not count before it was killed.

    Ids of initializations are never reused, so the greatest id is the number of candidates so far.
    """
    rows = store.initializations.all()
    published = max((row.version or 0 for row in rows), default=0)
    rejected = max((row.id for row in rows), default=0) - published
    counted = {c.labels["outcome"]: c.value for c in store.counters.all() if c.name == CONSOLIDATIONS}
    for outcome, total in (("published", published), ("rejected", rejected)):
        if total > counted.get(outcome, 0):
            store.counters.add(CONSOLIDATIONS, {"outcome": outcome}, total - counted.get(outcome, 0))
