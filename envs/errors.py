"""The errors of the ``envs`` package. Each names the operation, its subject, the finding and the action to take."""

from __future__ import annotations

from enum import StrEnum


class EnvsError(Exception):
    """The base class of all errors of ``envs``.

    Args:
        operation: the failed operation, as a gerund ("reading the family file").
        subject: the object of the operation (a family's name, an environment's id).
        found: the finding that made the operation fail.
        hint: the action to take, as a full sentence.
    """

    def __init__(self, *, operation: str, subject: str, found: str, hint: str = "") -> None:
        self.operation = operation
        self.subject = subject
        self.found = found
        self.hint = hint
        super().__init__(f"{operation} {subject!r}: {found}" + (f" {hint}" if hint else ""))


class UnsupportedSpaceError(EnvsError):
    """An error for an observation or action space for which no encoder or head exists."""


class FamilySpecError(EnvsError):
    """An error for a family's description that is inconsistent or names something unknown."""


class ImageReadError(EnvsError):
    """An error for an image, or a folder of images, that cannot be read."""


class FaultReason(StrEnum):
    """A kind of worker fault; these are the only values of a metric's ``reason`` label."""

    RAISED = "raised"
    EXITED = "exited"
    KILLED = "killed"
    HUNG = "hung"
    OVER_MEMORY = "over_memory"
    OVER_PROCESSES = "over_processes"
    OVER_DISK = "over_disk"
    NONSENSE = "nonsense"
    START_FAILED = "start_failed"


class WorkerFaultError(EnvsError):
    """An error for a failed worker or environment. The family gets a strike.

    Args:
        reason: the kind of fault.
        detail: the last lines of the worker's traceback or stderr, for the log.
    """

    def __init__(self, *, subject: str, reason: FaultReason, found: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        operation = "starting family" if reason is FaultReason.START_FAILED else "stepping family"
        super().__init__(operation=operation, subject=subject, found=found)
