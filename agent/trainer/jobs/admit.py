"""The admit job: try an added family in a worker before it is practised."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import structlog

from agent.trainer.faults import (
    FamilyRemovedError,
    UnexpectedFamilyError,
    family_boundary,
    fault_detail,
    refusal_reason,
)
from agent.trainer.jobs.evaluate import score_before_practice
from agent.trainer.plays import UnderWayError
from agent.trainer.session import TrainerSession
from envs.admission import Admission, probe
from envs.errors import EnvsError
from envs.family import FamilySource
from memory.errors import FamilyNotFoundError
from memory.records import Family, FamilyState, JobOutcome

log = structlog.get_logger(__name__)

ADMISSION = "admission"
"""Kind of the play that tries a family."""


def admit(session: TrainerSession, family: Family) -> tuple[JobOutcome, dict[str, Any]]:
    """Find out a family's spaces and the return of random actions and admit it, or refuse it and record the reason.

    An admitted family that begins with what others have learned is scored at once, before its first practice. A fault
    while it is scored is a strike.

    The probe of an environment is a play in the background, so a family that hangs stops nobody.

    A refusal is a result, not a failure of the job. An error that is not an ``EnvsError`` also refuses the family, and
    counts as a strike.

    Raises:
        UnderWayError: the probe goes on in the background; the next admit job of the family takes its result.
    """
    try:
        return _admit(session, family)
    except (FamilyNotFoundError, FamilyRemovedError):
        return JobOutcome.SKIPPED, {"reason": f"{family.name} was removed"}


def _admit(session: TrainerSession, family: Family) -> tuple[JobOutcome, dict[str, Any]]:
    if family.state not in {FamilyState.PENDING, FamilyState.REFUSED}:
        return JobOutcome.SKIPPED, {"reason": f"{family.name} is {family.state}: it is already admitted"}
    try:
        with family_boundary(family):
            admission = _probed(session, family)
    except FamilyRemovedError:
        raise
    except UnderWayError:
        session.store.families.require(family)
        if family.state is FamilyState.REFUSED:  # A person requested it: the result must be taken without a request.
            session.store.families.set_state(family.name, FamilyState.PENDING, reason="its admission goes on")
        raise
    except EnvsError as refusal:
        if isinstance(refusal, UnexpectedFamilyError):
            session.faults.record(family, refusal)
        session.store.families.require(family)
        reason = refusal_reason(refusal)
        session.store.families.set_state(family.name, FamilyState.REFUSED, reason=reason)
        log.warning("family refused", family=family.name, reason=reason, detail=fault_detail(refusal))
        return JobOutcome.SUCCEEDED, {"state": str(FamilyState.REFUSED), "reason": reason}
    session.store.families.admit(
        family.name,
        family_id=family.id,
        spaces=admission.spaces.to_json(),
        random_return=admission.random_return,
        reference_return=admission.reference_return,
        spec=replace(admission.spec, reference_source=admission.reference_source),
    )
    session.store.families.record_pace(family.name, admission.pace)
    log.info("family admitted", family=family.name, random_return=admission.random_return, warnings=admission.warnings)
    _score_at_once(session, session.store.families.get(family.name))
    return JobOutcome.SUCCEEDED, {"state": str(FamilyState.ACTIVE), "warnings": admission.warnings}


def _probed(session: TrainerSession, family: Family) -> Admission:
    """Return the result of the probe, which is a play in the background if a user's environment is stepped.

    Raises:
        UnderWayError: it goes on.
        EnvsError: the family is refused.
    """
    spec, limits = family.require_spec(), session.settings.worker_limits()
    num_copies = session.config.num_trials_for(is_tensor_native=False)

    if spec.source is not FamilySource.GYMNASIUM:
        return probe(spec, num_copies=num_copies, progress=lambda *_: session.heartbeat.beat_or_give_up())

    def play() -> Admission:
        return probe(spec, limits=limits, num_copies=num_copies, progress=lambda *_: session.plays.check())

    admission = session.plays.run(family.id, ADMISSION, lambda: play, is_patient=False)
    session.plays.forget(family.id, ADMISSION)
    return admission


def _score_at_once(session: TrainerSession, family: Family) -> None:
    """Score an admitted family before its first practice. If that takes long, the first practice takes the result."""
    try:
        with family_boundary(family):
            score_before_practice(session, family)
    except UnderWayError:
        return
    except EnvsError as fault:
        session.faults.record(family, fault)
