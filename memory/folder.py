"""The data folder: where everything is, who may enter, and who holds it."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from types import TracebackType

from memory.errors import FolderInUseError, MemoryStoreError
from memory.sqlite_library import is_out_of_room

BALLAST_BYTES = 8 << 20
"""Freed when the disk is full, so that deleting (which writes too) becomes possible; see ``release_ballast``."""

# struct flock on Linux: l_type, l_whence, (padding), l_start, l_len, l_pid, (padding).
_FLOCK = struct.Struct("hh4xqqi4x")


class DataFolder:
    """The folder that holds all of one learnd's state.

    Args:
        path: the folder; ``create`` makes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store_path = path / "learnd.db"
        self.parameters_path = path / "parameters"
        self.backups_path = path / "backups"
        self.logs_path = path / "logs"
        self.ballast_path = path / "ballast"

    def create(self) -> None:
        """Make the folder (mode 0700) with its sub-folders and ballast; does nothing where they are.

        Raises:
            MemoryStoreError: it cannot be made or written to.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.parameters_path, self.backups_path, self.logs_path):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise self._not_usable(error) from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise self._not_usable(PermissionError("it is not writable"))
        self.restore_ballast()

    def _not_usable(self, error: OSError) -> MemoryStoreError:
        return MemoryStoreError(
            operation="creating the data folder",
            subject=str(self.path),
            found=f"{error.strerror or error}.",
            hint="Choose another with --data-dir or LEARND_DATA_DIR, or change who owns it.",
        )

    def restore_ballast(self) -> bool:
        """Write the ballast file if it is missing and there is room for twice its size; return whether it is there.

        It is written out in full: a sparse file would hold no room.
        """
        if self.ballast_path.exists():
            return True
        stats = os.statvfs(self.path)
        if stats.f_bavail * stats.f_frsize < 2 * BALLAST_BYTES:
            return False
        temporary = self.ballast_path.with_suffix(".tmp")
        try:
            temporary.write_bytes(bytes(BALLAST_BYTES))
            temporary.rename(self.ballast_path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if is_out_of_room(error):
                return False
            raise self._not_usable(error) from error
        return True

    def release_ballast(self) -> bool:
        """Remove the ballast file so that a full disk has room for deletions; return whether there was one."""
        try:
            self.ballast_path.unlink()
        except FileNotFoundError:
            return False
        return True

    def hold(self, name: str = "control") -> HeldFolder:
        """Hold the folder in the role ``name`` until the result is closed or the process dies.

        Args:
            name: the role; one holder per role.

        Raises:
            FolderInUseError: another living process holds it; the message has its pid.
            MemoryStoreError: the lock file cannot be written.
        """
        path = self._lock_path(name)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._not_usable(error) from error
        try:
            # Locks of the open file description, not of the process: they end with the descriptor, and who holds one
            # can be asked without taking it (F_OFD_GETLK), so that a look never makes a start fail.
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except OSError as error:
            os.close(descriptor)
            raise self._in_use(name) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return HeldFolder(self, descriptor)

    def _in_use(self, name: str) -> FolderInUseError:
        pid = self.holder_pid(name)
        return FolderInUseError(
            operation=f"holding the data folder as {name}",
            subject=str(self.path),
            found=f"process {pid or 'unknown'} holds it.",
            hint="Stop it first (`learnd status` shows it), or choose another folder with --data-dir.",
            pid=pid,
        )

    def holder_pid(self, name: str = "control") -> int | None:
        """Return the pid of the living process that holds the role ``name``; None when nobody does."""
        try:
            descriptor = os.open(self._lock_path(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            asked = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
            lock_type = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))[0]
            if lock_type == fcntl.F_UNLCK:
                return None
            written = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip()
        finally:
            os.close(descriptor)
        return int(written) if written.isdigit() else None

    def _lock_path(self, name: str) -> Path:
        return self.path / f"{name}.lock"


class HeldFolder:
    """A held role of a data folder; a context manager."""

    def __init__(self, folder: DataFolder, descriptor: int) -> None:
        self.folder = folder
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        """Let go of the folder; safe to call again."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> HeldFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
