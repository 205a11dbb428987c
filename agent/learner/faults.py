"""What a worker's fault costs: its own family a strike, and after too many in a row a quarantine that ends."""

from __future__ import annotations

import structlog

from agent.learner.session import LearnerSession
from envs.errors import WorkerFaultError
from memory.records import Family, FamilyState

log = structlog.get_logger(__name__)


def record_fault(session: LearnerSession, family: Family, fault: WorkerFaultError) -> int:
    """Close the failed worker, count the strike, and quarantine the family when it has too many.

    Returns:
        the family's strikes in a row.
    """
    session.close_tasks(family.id)
    strikes = session.store.record_strike(family.name, reason=fault.reason, detail=fault.detail or fault.found)
    log.warning(
        "worker fault",
        family=family.name,
        reason=str(fault.reason),
        found=fault.found,
        detail=fault.detail[-2000:],
        strikes=strikes,
    )
    limits = session.settings.workers
    if strikes >= limits.max_strikes:
        pause_s = quarantine_s(
            strikes - limits.max_strikes, first_s=limits.quarantine_first_s, longest_s=limits.quarantine_max_s
        )
        session.store.set_family_state(
            family.name,
            FamilyState.QUARANTINED,
            reason=f"{strikes} worker faults in a row, the last: {fault.reason}: {fault.found}",
            quarantined_until=session.clock() + pause_s,
        )
        log.error("family quarantined", family=family.name, seconds=pause_s, strikes=strikes)
    return strikes


def quarantine_s(strikes_beyond: int, *, first_s: float, longest_s: float) -> float:
    """Seconds of quarantine: doubled with each further strike, up to the longest."""
    return float(min(longest_s, first_s * 2.0 ** min(strikes_beyond, 30)))
