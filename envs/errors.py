"""The errors of the ``envs`` package: each says what was tried, what was found and what to do."""

from __future__ import annotations

from enum import StrEnum


class EnvsError(Exception):
    """Root of everything that ``envs`` raises.

    Args:
        operation: what was being tried, as a gerund ("reading the family file").
        subject: what it was tried on (a family's name, an environment's id).
        found: what was found instead of what was expected.
        hint: what to do about it, as a full sentence.
    """

    def __init__(self, *, operation: str, subject: str, found: str, hint: str = "") -> None:
        self.operation = operation
        self.subject = subject
        self.found = found
        self.hint = hint
        super().__init__(f"{operation} {subject!r}: {found}" + (f" {hint}" if hint else ""))


class UnsupportedSpaceError(EnvsError):
    """An observation or action space that no encoder or head exists for."""


class FamilySpecError(EnvsError):
    """A family's description that contradicts itself or names something unknown."""


class FaultReason(StrEnum):
    """Why a worker failed its family; the bounded values of a metric's ``reason`` label."""

    RAISED = "raised"
    EXITED = "exited"
    KILLED = "killed"
    HUNG = "hung"
    OVER_MEMORY = "over_memory"
    NONSENSE = "nonsense"
    START_FAILED = "start_failed"


class WorkerFaultError(EnvsError):
    """A worker, or the user's environment in it, failed: the family gets a strike.

    Args:
        reason: the kind of failure.
        detail: the worker's own words (the last lines of its traceback or stderr), for the log.
    """

    def __init__(self, *, subject: str, reason: FaultReason, found: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(operation="stepping family", subject=subject, found=found)
