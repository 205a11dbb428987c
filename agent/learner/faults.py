"""What a worker's fault costs: its own family a strike, and after too many in a row a quarantine that ends."""

from __future__ import annotations

import structlog

from agent.learner.session import LearnerSession
from envs.errors import EnvsError, FaultReason, WorkerFaultError
from memory.errors import FamilyNotFoundError
from memory.records import Family, FamilyState

log = structlog.get_logger(__name__)


class UnscoredError(Exception):
    """A family that is known could not be played, so nothing can be said of a candidate this time."""


def record_fault(session: LearnerSession, family: Family, error: EnvsError) -> int:
    """Close the family's worker, count the strike, and quarantine an active family when it has too many.

    What is not a worker's fault but of the family's own making all the same (its module is gone, its spaces are no
    longer those of admission) counts as a failure to start.

    Returns:
        the family's strikes in a row; 0 where it was removed meanwhile.
    """
    session.close_tasks(family.id)
    reason = fault_reason(error)
    detail = (error.detail if isinstance(error, WorkerFaultError) else "") or what_was_found(error)
    try:
        strikes = session.store.record_strike(family.name, reason=reason, detail=detail)
        now = session.store.family(family.name)
    except FamilyNotFoundError:
        log.info("a family was removed while it was worked on", family=family.name)
        return 0
    log.warning(
        "family fault",
        family=family.name,
        reason=str(reason),
        found=error.found,
        detail=detail[-2000:],
        strikes=strikes,
    )
    if now.state is FamilyState.ACTIVE and strikes >= session.settings.workers.max_strikes:
        _quarantine(session, now, strikes, reason=reason, found=what_was_found(error))
    return strikes


def fault_reason(error: EnvsError) -> FaultReason:
    """The kind of fault that a family's error counts as."""
    return error.reason if isinstance(error, WorkerFaultError) else FaultReason.START_FAILED


def what_was_found(error: EnvsError) -> str:
    """What people are told of a family's error: a worker's says all itself, another also on what and what to do."""
    return error.found if isinstance(error, WorkerFaultError) else str(error)


def _quarantine(session: LearnerSession, family: Family, strikes: int, *, reason: FaultReason, found: str) -> None:
    limits = session.settings.workers
    pause_s = quarantine_s(
        strikes - limits.max_strikes, first_s=limits.quarantine_first_s, longest_s=limits.quarantine_max_s
    )
    session.store.set_family_state(
        family.name,
        FamilyState.QUARANTINED,
        reason=f"{strikes} faults in a row, the last: {reason}: {found}",
        quarantined_until=session.clock() + pause_s,
    )
    log.error("family quarantined", family=family.name, seconds=pause_s, strikes=strikes)


def quarantine_s(strikes_beyond: int, *, first_s: float, longest_s: float) -> float:
    """Seconds of quarantine: doubled with each further strike, up to the longest."""
    return float(min(longest_s, first_s * 2.0 ** min(strikes_beyond, 30)))
