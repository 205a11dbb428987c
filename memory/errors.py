"""The errors of the ``memory`` package. Each names the operation, its subject, the finding and the action to take."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class MemoryStoreError(Exception):
    """The base class of all errors of ``memory``.

    Args:
        operation: the failed operation, as a gerund ("opening the store").
        subject: the object of the operation (a path, a family's name, a version).
        found: the finding that made the operation fail.
        hint: the action to take, as a full sentence.
        is_recoverable: whether a later attempt can succeed without a person's help.
    """

    def __init__(
        self, *, operation: str, subject: str, found: str, hint: str = "", is_recoverable: bool = False
    ) -> None:
        self.operation = operation
        self.subject = subject
        self.found = found
        self.hint = hint
        self.is_recoverable = is_recoverable
        super().__init__(f"{operation} {subject!r}: {found}" + (f" {hint}" if hint else ""))


class FolderInUseError(MemoryStoreError):
    """An error for a data folder that another process holds.

    Args:
        pid: the process that holds it; None if it is unknown.
    """

    def __init__(self, *, operation: str, subject: str, found: str, hint: str = "", pid: int | None = None) -> None:
        self.pid = pid
        super().__init__(operation=operation, subject=subject, found=found, hint=hint, is_recoverable=True)


class StoreMissingError(MemoryStoreError):
    """An error for a data folder that has no store yet."""


class StoreLostError(MemoryStoreError):
    """An error for a missing or empty database in a data folder that has other parts of a store."""


class ForeignStoreError(MemoryStoreError):
    """An error for a database and a data folder that belong to different stores."""


class FolderLostError(MemoryStoreError):
    """An error for a data folder, or a file in it, that was removed or replaced while a process uses it.

    Args:
        path: the folder or file.
    """

    def __init__(self, *, operation: str, path: Path, found: str, hint: str = "") -> None:
        self.path = path
        super().__init__(operation=operation, subject=str(path), found=found, hint=hint)


class UnknownSchemaError(MemoryStoreError):
    """An error for a store that another version of learnd or another program wrote."""


class CorruptFileError(MemoryStoreError):
    """An error for a database, row, episode or parameter file that is damaged or does not match its checksum."""


class DamagedBackupsError(CorruptFileError):
    """An error for backups that were damaged after they were made.

    Args:
        backups: their names.
    """

    def __init__(self, *, operation: str, subject: str, found: str, hint: str = "", backups: tuple[str, ...]) -> None:
        self.backups = backups
        super().__init__(operation=operation, subject=subject, found=found, hint=hint)


class FamilyNotFoundError(MemoryStoreError):
    """An error for a family name that the store does not contain."""


class FamilyExistsError(MemoryStoreError):
    """An error for a family name that the store already contains."""


class ReferenceExistsError(MemoryStoreError):
    """An error for a reference return that a family already has; it is written once."""


ANOTHER_REFERENCE_HINT = "For another one, add the family under another name with --reference."
"""The hint for a family that has a reference already."""


class VersionNotFoundError(MemoryStoreError):
    """An error for a version that the store does not contain, or that cannot be rolled back to."""


class TrialNotFoundError(MemoryStoreError):
    """An error for a trial id that the store does not contain: it was never recorded, or was pruned."""


class ParentChangedError(MemoryStoreError):
    """An error for a candidate whose parent is no longer the current version."""


class StoreBusyError(MemoryStoreError):
    """An error for a lock that was not acquired within the time-out, or a read that exceeded its time limit."""


class StoreFullError(MemoryStoreError):
    """An error for a write that did not fit on the disk; nothing of the write was recorded."""


class ArchiveError(MemoryStoreError):
    """An error for an archive of trials that is damaged, or that does not fit the store."""
