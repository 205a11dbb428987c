"""The family boundary: an error in a job belongs to one family, which gets a strike, or to the trainer itself.

Everything that a family's tasks or learner raise is turned into an :class:`EnvsError` of that family, so that the other
families of the job go on. After too many strikes in a row the family is quarantined for a time.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import torch

from agent.errors import ChannelError
from agent.learners.rl2.policy import IncompatibleParametersError
from agent.trainer.channel import ChannelClosedError
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.practice.slices import DivergedError
from agent.trainer.session import IncompatibleCheckpointError, TrainerSession
from envs.errors import EnvsError, FaultReason, WorkerFaultError
from memory.errors import FamilyNotFoundError, MemoryStoreError
from memory.records import Family, FamilyState

log = structlog.get_logger(__name__)

MAX_REASON_CHARS = 500
"""Length of the reason that a person reads in the status; the log has the rest."""

EXHAUSTED = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT})
"""Errors of the operating system that say that the machine, not the family, has nothing left."""


class UnscoredError(Exception):
    """A family that is known could not be played, so nothing can be said of a candidate this time."""


class UnexpectedFamilyError(EnvsError):
    """A family's tasks or learner raised an error that is not an environment's: a bug, or data of an unknown form.

    Its cause is the error that was raised.
    """


TRAINER_ERRORS = (
    MemoryStoreError,
    JobInterruptedError,
    ChannelClosedError,
    ChannelError,
    IncompatibleCheckpointError,
    IncompatibleParametersError,
    DivergedError,
    UnscoredError,
    MemoryError,
    torch.OutOfMemoryError,
    torch.AcceleratorError,
)
"""Errors that have a meaning of their own, or that say that the trainer's process, store or device is at fault."""


@contextmanager
def family_boundary(family: Family) -> Iterator[None]:
    """Raise what the block raises as an :class:`EnvsError` of ``family``, unless it is the trainer's own error.

    Raises:
        UnexpectedFamilyError: the block raised an error that is neither an ``EnvsError`` nor the trainer's own.
    """
    try:
        yield
    except (EnvsError, *TRAINER_ERRORS):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            raise
        raise UnexpectedFamilyError(
            operation="working on family",
            subject=family.name,
            found=f"{type(error).__name__}: {error}",
            hint="The log has the traceback.",
        ) from error


@contextmanager
def scoring_boundary(session: TrainerSession, family: Family) -> Iterator[None]:
    """Record a fault of ``family`` in the block, and raise that it could not be scored.

    Raises:
        UnscoredError: the family failed and has a strike, or it was removed meanwhile.
    """
    try:
        with family_boundary(family):
            yield
    except EnvsError as fault:
        record_fault(session, family, fault)
        raise UnscoredError(f"{family.name} could not be scored: {fault.found}") from fault
    except FamilyNotFoundError as error:
        raise UnscoredError(f"{family.name} was removed while it was scored") from error


def record_fault(session: TrainerSession, family: Family, error: EnvsError) -> int:
    """Close the family's worker, count the strike, and quarantine an active family when it has too many.

    Which reason an error counts as: :func:`fault_reason`. The store gets one line for people; the log gets the
    worker's own words, or the traceback of an error that nobody expected.

    Returns:
        the family's strikes in a row; 0 where it was removed meanwhile.
    """
    _close_tasks(session, family)
    reason, found = fault_reason(error), _for_people(error)
    try:
        strikes = session.store.families.record_strike(family.name, reason=reason, detail=found)
        now = session.store.families.get(family.name)
    except FamilyNotFoundError:
        log.info("a family was removed while it was worked on", family=family.name)
        return 0
    log.warning(
        "family fault",
        family=family.name,
        reason=str(reason),
        found=error.found,
        detail=error.detail[-2000:] if isinstance(error, WorkerFaultError) else "",
        strikes=strikes,
        exc_info=error.__cause__ if isinstance(error, UnexpectedFamilyError) else None,
    )
    if now.state is FamilyState.ACTIVE and strikes >= session.settings.workers.max_strikes:
        _quarantine(session, now, strikes, reason=reason, found=found)
    return strikes


def _close_tasks(session: TrainerSession, family: Family) -> None:
    """Close the family's tasks; a fault of closing must not keep the strike from being recorded."""
    try:
        with family_boundary(family):
            session.close_tasks(family.id)
    except EnvsError:
        log.exception("a family's tasks could not be closed", family=family.name)


def fault_reason(error: EnvsError) -> FaultReason:
    """Return the kind of fault that a family's error counts as.

    A worker's error says its own. An unexpected error counts as raised. Any other is of the family's own making (its
    module is gone, its spaces are no longer those of admission) and counts as a failure to start.
    """
    if isinstance(error, UnexpectedFamilyError):
        return FaultReason.RAISED
    return error.reason if isinstance(error, WorkerFaultError) else FaultReason.START_FAILED


def user_message(error: EnvsError) -> str:
    """What people are told of a family's error: a worker's says all itself, another also on what and what to do."""
    return error.found if isinstance(error, WorkerFaultError) else str(error)


def _for_people(error: EnvsError) -> str:
    """Return what was found as one line of bounded length."""
    return " ".join(user_message(error).split())[:MAX_REASON_CHARS]


def _quarantine(session: TrainerSession, family: Family, strikes: int, *, reason: FaultReason, found: str) -> None:
    limits = session.settings.workers
    pause_s = quarantine_s(
        strikes - limits.max_strikes, first_s=limits.quarantine_first_s, longest_s=limits.quarantine_max_s
    )
    session.store.families.set_state(
        family.name,
        FamilyState.QUARANTINED,
        reason=f"{strikes} faults in a row, the last: {reason}: {found}",
        quarantined_until=session.clock() + pause_s,
    )
    log.error("family quarantined", family=family.name, seconds=pause_s, strikes=strikes)


def quarantine_s(strikes_beyond: int, *, first_s: float, longest_s: float) -> float:
    """Seconds of quarantine: doubled with each further strike, up to the longest."""
    return float(min(longest_s, first_s * 2.0 ** min(strikes_beyond, 30)))
