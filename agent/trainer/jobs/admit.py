"""The admit job: try an added family in a worker before it is practised."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import structlog

from agent.trainer.faults import UnexpectedFamilyError, family_boundary
from agent.trainer.jobs.evaluate import score_before_practice
from agent.trainer.session import TrainerSession
from envs.admission import probe
from envs.errors import EnvsError
from memory.records import Family, FamilyState, JobOutcome

log = structlog.get_logger(__name__)


def admit(session: TrainerSession, family: Family) -> tuple[JobOutcome, dict[str, Any]]:
    """Find out a family's spaces and the return of random actions and admit it, or refuse it and record the reason.

    An admitted family that begins with what others have learned is scored at once, before its first practice. A fault
    while it is scored is a strike.

    A refusal is a result, not a failure of the job. An error that is not an ``EnvsError`` also refuses the family, and
    counts as a strike.
    """
    if family.state not in {FamilyState.PENDING, FamilyState.REFUSED}:
        return JobOutcome.SKIPPED, {"reason": f"{family.name} is {family.state}: it is already admitted"}
    try:
        with family_boundary(family):
            admission = probe(
                family.require_spec(),
                limits=session.settings.workers.limits(),
                num_copies=session.config.num_trials_for(is_tensor_native=False),
                progress=lambda *_: session.heartbeat.beat_or_give_up(),
            )
    except EnvsError as refusal:
        if isinstance(refusal, UnexpectedFamilyError):
            session.faults.record(family, refusal)
        session.store.families.set_state(family.name, FamilyState.REFUSED, reason=str(refusal))
        log.warning("family refused", family=family.name, reason=str(refusal))
        return JobOutcome.SUCCEEDED, {"state": str(FamilyState.REFUSED), "reason": str(refusal)}
    session.store.families.admit(
        family.name,
        spaces=admission.spaces.to_json(),
        random_return=admission.random_return,
        reference_return=admission.reference_return,
        spec=replace(admission.spec, reference_source=admission.reference_source),
    )
    session.store.families.record_pace(family.name, admission.pace)
    log.info("family admitted", family=family.name, random_return=admission.random_return, warnings=admission.warnings)
    admitted = session.store.families.get(family.name)
    try:
        with family_boundary(admitted):
            score_before_practice(session, admitted)
    except EnvsError as fault:
        session.faults.record(admitted, fault)
    return JobOutcome.SUCCEEDED, {"state": str(FamilyState.ACTIVE), "warnings": admission.warnings}
