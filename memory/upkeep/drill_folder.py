"""The temporary folder of a restore drill, with a lock that tells folders of living processes from abandoned ones."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DRILL_PREFIX = ".drill-"
"""Start of the name of the temporary folder. It stays if the process is killed."""

_SUFFIX = ".tmp"


@contextmanager
def drill_folder(within: Path) -> Iterator[Path]:
    """Make a temporary folder, lock it, and remove it at the end of the block.

    The kernel releases the lock when the process ends, however it ends.

    Args:
        within: an existing folder.
    """
    path, descriptor = _new_locked(within)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def remove_abandoned_drills(within: Path) -> int:
    """Remove the temporary folders of drills whose process was killed; return their number.

    Folders that a process has locked stay, and so do those on file systems that cannot lock a folder (NFS).
    """
    return sum(_remove_unless_locked(path) for path in within.glob(f"{DRILL_PREFIX}*{_SUFFIX}"))


def _new_locked(within: Path) -> tuple[Path, int]:
    """Return a new folder and the descriptor that holds its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=DRILL_PREFIX, suffix=_SUFFIX, dir=within))
        descriptor = _open(path)
        # A concurrent removal may have come first: then the lock is that of a removed folder, and another is made.
        if descriptor is not None and (not _lock(descriptor, fcntl.LOCK_EX) or path.exists()):
            return path, descriptor
        if descriptor is not None:
            os.close(descriptor)


def _remove_unless_locked(path: Path) -> bool:
    descriptor = _open(path)
    if descriptor is None:
        return False
    try:
        is_abandoned = _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_abandoned:
            shutil.rmtree(path, ignore_errors=True)
        return is_abandoned
    finally:
        os.close(descriptor)


def _open(path: Path) -> int | None:
    """Open a folder; return None if it is gone, not a folder (such as a link), or belongs to another user."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None


def _lock(descriptor: int, operation: int) -> bool:
    """Lock a folder; return False if another process holds the lock, or the file system cannot lock a folder."""
    try:
        fcntl.flock(descriptor, operation)
    except OSError:
        return False
    return True
