"""The practise job: practise one family for a slice of time."""

from __future__ import annotations

from typing import Any

from agent.trainer.faults import family_boundary, fault_reason, user_message
from agent.trainer.jobs.evaluate import score_before_practice, store_ended_evaluation
from agent.trainer.practice.slices import DivergedError
from agent.trainer.session import TrainerSession
from envs.errors import EnvsError, FaultReason, WorkerFaultError
from memory.errors import FamilyNotFoundError
from memory.records import Family, FamilyState, JobOutcome


def practise(session: TrainerSession, family: Family, *, reason: str) -> tuple[JobOutcome, dict[str, Any]]:
    """Practise a family for a slice of time, unless it is not active.

    A fault of the family discards the slice and is recorded as a strike; a slice without a fault clears the strikes.

    Args:
        session: the trainer's state.
        family: the family.
        reason: why it was chosen.

    Raises:
        JobInterruptedError: the daemon has requested a stop before the first update; the slice is discarded.
        UnderWayError: what a worker plays goes on in the background; nothing was learned.
    """
    session.close_unwanted_tasks()
    if family.state is not FamilyState.ACTIVE:
        return JobOutcome.SKIPPED, {"reason": f"{family.name} is {family.state}"}
    try:
        with family_boundary(family):
            store_ended_evaluation(session, family)
            score_before_practice(session, family)  # a family that the command line admitted was not scored yet
            session.practice_of(family).prepare(family)
    except EnvsError as early:
        if family.totals.meta_updates == 0:  # It may have been added to the learner.
            session.restore_last_commit()
        return _end_by_fault(session, family, early)
    try:
        with family_boundary(family):
            detail = session.practice_of(family).practise(family, reason=reason)
    except DivergedError as diverged:
        fault = WorkerFaultError(subject=family.name, reason=FaultReason.NONSENSE, found=str(diverged))
        return _record_failure(session, family, fault)
    except EnvsError as fault:
        session.restore_last_commit()
        return _end_by_fault(session, family, fault)
    except FamilyNotFoundError:
        session.restore_last_commit()
        return _skip_removed(session, family)
    if family.strikes:
        session.store.families.clear_strikes(family.name)
    return JobOutcome.SUCCEEDED, detail


def _end_by_fault(session: TrainerSession, family: Family, fault: EnvsError) -> tuple[JobOutcome, dict[str, Any]]:
    """Return the result of a job that a fault ended: of a skipped one if the family was removed meanwhile."""
    if session.is_removed(family):
        return _skip_removed(session, family)
    return _record_failure(session, family, fault)


def _skip_removed(session: TrainerSession, family: Family) -> tuple[JobOutcome, dict[str, Any]]:
    """Close the tasks of a family that was removed meanwhile and return the result of the skipped job."""
    session.close_tasks(family.id)
    return JobOutcome.SKIPPED, {"reason": f"{family.name} was removed"}


def _record_failure(session: TrainerSession, family: Family, fault: EnvsError) -> tuple[JobOutcome, dict[str, Any]]:
    """Record a strike for the family and return the result of the failed job."""
    strikes = session.faults.record(family, fault)
    detail = {"fault": str(fault_reason(fault)), "strikes": strikes, "found": user_message(fault)}
    return JobOutcome.FAILED, detail
