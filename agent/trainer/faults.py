"""The family boundary: decides whether an error in a job is the fault of one family or of the trainer itself.

An error that a family's tasks or learner raise becomes an :class:`EnvsError` of that family, and the family gets a
strike. The job continues with the other families. After too many strikes in a row the family is quarantined for a
limited time.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
import torch

from agent.config.worker_settings import WorkersSettings
from agent.errors import ChannelError
from agent.learners.rl2.parameters import IncompatibleParametersError
from agent.output.error_text import short_error
from agent.trainer.channel import ChannelClosedError
from agent.trainer.checkpoint_damage import IncompatibleCheckpointError
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.plays import UnderWayError
from agent.trainer.practice.slices import DivergedError
from envs.errors import EnvsError, FaultReason, WorkerFaultError
from memory.errors import FamilyNotFoundError, MemoryStoreError
from memory.records import Family, FamilyState
from memory.tables.families import FamilyTable

log = structlog.get_logger(__name__)

MAX_REASON_CHARS = 500
"""Maximum length of the reason that the status shows; the log has the whole text."""

MAX_REFUSAL_CHARS = 2000
"""Maximum length of the reason of a refusal, which ends with what to do."""

MAX_DETAIL_CHARS = 2000
"""Maximum length of a worker's own report in the log."""

EXHAUSTED = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT})
"""Errors of the operating system that mean that the machine has run out of a resource: not the family's fault."""


class UnscoredError(Exception):
    """A known family could not be scored, so this consolidation cannot decide on a candidate."""


class UnexpectedFamilyError(EnvsError):
    """An error of a family's tasks or learner that is not an ``EnvsError``: a bug, or data of an unknown form.

    Its ``__cause__`` is the error that was raised.
    """


class FamilyRemovedError(EnvsError):
    """An error that ends work on a family because it was removed. It is no fault of the family."""


TRAINER_ERRORS = (
    MemoryStoreError,
    JobInterruptedError,
    ChannelClosedError,
    ChannelError,
    IncompatibleCheckpointError,
    IncompatibleParametersError,
    DivergedError,
    UnscoredError,
    UnderWayError,
    MemoryError,
    torch.OutOfMemoryError,
    torch.AcceleratorError,
)
"""Errors that pass the family boundary: they have their own handlers, or mean that the trainer itself is at fault.

A fault of the trainer is one of its process, store or device.
"""


@contextmanager
def family_boundary(family: Family) -> Iterator[None]:
    """Turn an error that the block raises into an :class:`EnvsError` of ``family``, except the trainer's own errors.

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


class FamilyFaults:
    """Records the faults of families: it closes a family's tasks, counts its strikes and quarantines it.

    Args:
        families: the families of the store.
        close_tasks: closes the tasks of the family with an id.
        limits: the number of strikes that leads to a quarantine, and how long a quarantine is.
        clock: returns wall-clock time in seconds since the epoch.
    """

    def __init__(
        self,
        *,
        families: FamilyTable,
        close_tasks: Callable[[int], None],
        limits: WorkersSettings,
        clock: Callable[[], float],
    ) -> None:
        self._families = families
        self._close_tasks = close_tasks
        self._limits = limits
        self._clock = clock

    @contextmanager
    def scoring(self, family: Family) -> Iterator[None]:
        """Record a fault of ``family`` that the block raises, and raise :class:`UnscoredError` instead.

        Raises:
            UnscoredError: the family failed and got a strike, or it was removed meanwhile.
        """
        try:
            with family_boundary(family):
                yield
        except EnvsError as fault:
            self.record(family, fault)
            raise UnscoredError(f"{family.name} could not be scored: {fault.found}") from fault
        except FamilyNotFoundError as error:
            raise UnscoredError(f"{family.name} was removed while it was scored") from error

    def record(self, family: Family, error: EnvsError) -> int:
        """Close the family's worker, count the strike, and quarantine an active family that has too many strikes.

        :func:`fault_reason` decides which reason is recorded. The store gets one line for the user. The log gets the
        worker's own report, or the traceback of an unexpected error.

        Returns:
            The family's strikes in a row; 0 if it was removed meanwhile.
        """
        self._close(family)
        reason, found = fault_reason(error), _one_line(error)
        try:
            self._families.require(family)
            strikes = self._families.record_strike(family.name, reason=reason, detail=found)
            now = self._families.get(family.name)
        except FamilyNotFoundError:
            log.info("family was removed during the job", family=family.name)
            return 0
        log.warning(
            "family fault",
            family=family.name,
            reason=str(reason),
            found=error.found,
            detail=fault_detail(error),
            strikes=strikes,
            exc_info=error.__cause__ if isinstance(error, UnexpectedFamilyError) else None,
        )
        if now.state is FamilyState.ACTIVE and strikes >= self._limits.max_strikes:
            self._quarantine(now, strikes, reason=reason, found=found)
        return strikes

    def _close(self, family: Family) -> None:
        """Close the family's tasks. Log an error in closing, because the strike must be recorded in any case."""
        try:
            with family_boundary(family):
                self._close_tasks(family.id)
        except EnvsError:
            log.exception("tasks of a family could not be closed", family=family.name)

    def _quarantine(self, family: Family, strikes: int, *, reason: FaultReason, found: str) -> None:
        pause_s = quarantine_s(
            strikes - self._limits.max_strikes,
            first_s=self._limits.quarantine_first_s,
            longest_s=self._limits.quarantine_max_s,
        )
        self._families.set_state(
            family.name,
            FamilyState.QUARANTINED,
            reason=f"{strikes} faults in a row, the last: {reason}: {found}",
            quarantined_until=self._clock() + pause_s,
        )
        log.error("family quarantined", family=family.name, seconds=pause_s, strikes=strikes)


def fault_reason(error: EnvsError) -> FaultReason:
    """Return the kind of fault that a family's error counts as.

    - A :class:`WorkerFaultError` has its own reason.
    - An :class:`UnexpectedFamilyError` counts as raised.
    - Any other error counts as a failure to start: the family's module no longer exists, or its spaces are no longer
      those of admission.
    """
    if isinstance(error, UnexpectedFamilyError):
        return FaultReason.RAISED
    return error.reason if isinstance(error, WorkerFaultError) else FaultReason.START_FAILED


def user_message(error: EnvsError) -> str:
    """Return the user-facing text of an error.

    The text of a worker fault is complete. For other errors return ``str(error)``, which adds subject and hint.
    """
    return error.found if isinstance(error, WorkerFaultError) else str(error)


def fault_detail(error: EnvsError) -> str:
    """Return the end of a worker's traceback and stderr, which belong into the log; empty for other errors."""
    return error.detail[-MAX_DETAIL_CHARS:] if isinstance(error, WorkerFaultError) else ""


def refusal_reason(error: EnvsError) -> str:
    """Return why a family is refused, with the hint, as one line of at most ``MAX_REFUSAL_CHARS``."""
    return short_error(str(error), max_chars=MAX_REFUSAL_CHARS)


def _one_line(error: EnvsError) -> str:
    """Return the user-facing text of an error as one line of at most ``MAX_REASON_CHARS``."""
    return short_error(user_message(error), max_chars=MAX_REASON_CHARS)


def quarantine_s(strikes_beyond: int, *, first_s: float, longest_s: float) -> float:
    """Return the length of a quarantine in seconds: it doubles with each further strike, up to ``longest_s``."""
    return float(min(longest_s, first_s * 2.0 ** min(strikes_beyond, 30)))
