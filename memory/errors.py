"""The errors of the ``memory`` package: each says what was tried, what was found and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class MemoryStoreError(Exception):
    """Root of everything that ``memory`` raises.

    Args:
        operation: what was being tried, as a gerund ("opening the store").
        subject: what it was tried on (a path, a family's name, a version).
        found: what was found instead of what was expected.
        hint: what to do about it, as a full sentence.
        is_recoverable: whether trying again later can succeed without a person.
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
    """Another process holds the data folder.

    Args:
        pid: the process that holds it; None when it could not be told.
    """

    def __init__(self, *, operation: str, subject: str, found: str, hint: str = "", pid: int | None = None) -> None:
        self.pid = pid
        super().__init__(operation=operation, subject=subject, found=found, hint=hint, is_recoverable=True)


class StoreMissingError(MemoryStoreError):
    """There is no store in the data folder yet."""


class StoreLostError(MemoryStoreError):
    """The database is missing or empty, but other parts of a store are in the data folder."""


class ForeignStoreError(MemoryStoreError):
    """The database and the data folder belong to different stores."""


class FolderLostError(MemoryStoreError):
    """The data folder, or a file in it that a running process relies on, was removed or replaced.

    Args:
        path: the folder or file.
    """

    def __init__(self, *, operation: str, path: Path, found: str, hint: str = "") -> None:
        self.path = path
        super().__init__(operation=operation, subject=str(path), found=found, hint=hint)


class UnknownSchemaError(MemoryStoreError):
    """The store was written by a newer learnd, or is another program's."""


class CorruptFileError(MemoryStoreError):
    """A parameter file or an episode does not match its checksum."""


class FamilyNotFoundError(MemoryStoreError):
    """No family of that name is in the store."""


class FamilyExistsError(MemoryStoreError):
    """A family of that name is already in the store."""


class VersionNotFoundError(MemoryStoreError):
    """No initialization of that version is in the store."""


class TrialNotFoundError(MemoryStoreError):
    """No trial of that id is in the store: it was never there, or has been pruned."""


class ParentChangedError(MemoryStoreError):
    """The version that a candidate was scored against is no longer the current one."""


class StoreBusyError(MemoryStoreError):
    """Another process held the store's write lock for longer than the time-out."""


class StoreFullError(MemoryStoreError):
    """The disk has no room for the write; nothing of it was recorded."""
