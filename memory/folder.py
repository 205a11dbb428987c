"""The data folder: its paths, the check of its permissions, and the locks by which processes hold it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from pathlib import Path
from types import TracebackType

from memory.errors import FolderInUseError, MemoryStoreError, StoreFullError
from memory.processes import flock_holder, has_open, parent_of
from memory.sqlite_library import FULL_HINT, is_out_of_room

BALLAST_BYTES = 8 << 20
"""Size of the file that is removed on a full disk, because deletions need to write too; see ``release_ballast``."""

# struct flock on Linux: l_type, l_whence, (padding), l_start, l_len, l_pid, (padding).
_FLOCK = struct.Struct("hh4xqqi4x")


class DataFolder:
    """A folder with the complete state of one installation of learnd.

    Args:
        path: the folder, which need not exist; ``create`` makes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store_path = path / "learnd.db"
        self.parameters_path = path / "parameters"
        self.backups_path = path / "backups"
        self.ballast_path = path / "ballast"
        self.measurements_path = path / "measurements"

    @property
    def wal_path(self) -> Path:
        """The path of the database's write-ahead log. For a symbolic link it is in the folder of the link's target."""
        path = self.store_path.resolve() if self.store_path.is_symlink() else self.store_path
        return path.with_name(f"{path.name}-wal")

    def create(self) -> None:
        """Make the folder (mode 0700), its sub-folders and its ballast file, unless they exist.

        Raises:
            StoreFullError: the disk has no space for them.
            MemoryStoreError: the folder cannot be made or written to, or other users may write to it.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.require_private()
            for folder in (self.parameters_path, self.backups_path):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise self._not_usable(error) from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise self._not_usable(PermissionError("it is not writable"))
        self.restore_ballast()

    def require_private(self) -> None:
        """Check that no other user may write to the folder, since a user who may can make the service run any code.

        Root may use the folder of any user, because the command line is run as root on the folder of a service.

        Raises:
            MemoryStoreError: other users may write to the folder, another user owns it, or it does not exist.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise self._not_usable(error) from error
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise MemoryStoreError(
                operation="using the data folder",
                subject=str(self.path),
                found=f"other users may write to it (mode {stat.S_IMODE(found.st_mode):04o}).",
                hint=f"Remove the permission: chmod 700 {self.path}",
            )
        if found.st_uid != os.geteuid() != 0:
            raise MemoryStoreError(
                operation="using the data folder",
                subject=str(self.path),
                found=f"it belongs to another user (uid {found.st_uid}; this process has uid {os.geteuid()}).",
                hint="Run as the user that owns it, or name another folder with --data-dir.",
            )

    def _not_usable(self, error: OSError) -> MemoryStoreError:
        operation, found = "creating the data folder", f"{error.strerror or error}."
        if is_out_of_room(error):
            return StoreFullError(
                operation=operation, subject=str(self.path), found=found, hint=FULL_HINT, is_recoverable=True
            )
        return MemoryStoreError(
            operation=operation,
            subject=str(self.path),
            found=found,
            hint="Choose another with --data-dir or LEARND_DATA_DIR, or change who owns it.",
        )

    def restore_ballast(self) -> bool:
        """Make the ballast file if it is missing and the disk has space for twice its size.

        Its space is allocated without writing zeros; a sparse file would reserve none.

        Returns:
            Whether the file exists now.
        """
        if self.ballast_path.exists():
            return True
        stats = os.statvfs(self.path)
        if stats.f_bavail * stats.f_frsize < 2 * BALLAST_BYTES:
            return False
        temporary = self.ballast_path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
            temporary.rename(self.ballast_path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if is_out_of_room(error):
                return False
            raise self._not_usable(error) from error
        return True

    def release_ballast(self) -> bool:
        """Remove the ballast file, so that a full disk has space for deletions; return whether there was one."""
        try:
            self.ballast_path.unlink()
        except FileNotFoundError:
            return False
        return True

    def hold(self, name: str = "control") -> HeldFolder:
        """Hold the folder in the role ``name`` until the result is closed or the process exits.

        Two locks are taken: one on the role's lock file, which records the pid, and one on a directory. The directory
        cannot be removed without its content, so a second process cannot hold the role after a lock file was removed.

        Args:
            name: the role; a role has at most one holder.

        Raises:
            FolderInUseError: another running process holds the role; the message has its pid.
            StoreFullError: the disk has no space for the lock file.
            MemoryStoreError: the lock file cannot be written.
        """
        descriptors: list[int] = []
        try:
            # The directory is locked first, so that a refused process never creates a lock file that the holder lacks.
            descriptors.append(self._lock_directory(name))
            descriptors.append(self._lock_file(name))
        except BlockingIOError as error:
            _close_all(descriptors)
            raise self._in_use(name) from error
        except OSError as error:
            _close_all(descriptors)
            raise self._not_usable(error) from error
        return HeldFolder(self, descriptors[1], descriptors[0])

    def _lock_directory(self, name: str) -> int:
        descriptor = os.open(self._locked_directory(name), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            # Some file systems cannot lock a directory (NFS). There the lock file is the only lock.
            return descriptor
        return descriptor

    def _lock_file(self, name: str) -> int:
        descriptor = os.open(self.lock_path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # The lock belongs to the open file description, not to the process, so it ends with the descriptor.
            # F_OFD_GETLK finds the holder without taking the lock, so a query never makes a start fail.
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n{os.getppid()}\n".encode(), 0)
        except OSError as error:
            os.close(descriptor)
            if error.errno in {errno.EACCES, errno.EAGAIN}:
                raise BlockingIOError(error.errno, error.strerror) from error
            raise
        return descriptor

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
        """Return the pid of the running process that holds the role ``name``; None if there is none."""
        holder = self._holder(name)
        return holder[0] if holder else flock_holder(self._locked_directory(name))

    def is_orphaned(self, name: str) -> bool:
        """Return whether the process that holds a role has outlived the process that started it.

        The pid in the lock file alone proves nothing, because pids are reused and differ between containers.
        For this reason the process must have the lock file open.
        """
        holder = self._holder(name)
        if holder is None or not has_open(holder[0], self.lock_path(name)):
            return False
        pid, parent = holder
        return parent is None or parent_of(pid) != parent

    def _holder(self, name: str) -> tuple[int, int | None] | None:
        """Return the pid of the holder of a lock file, and the pid of the process that started it if it is recorded."""
        try:
            descriptor = os.open(self.lock_path(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            query = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
            lock_type = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, query))[0]
            if lock_type == fcntl.F_UNLCK:
                return None
            lines = os.pread(descriptor, 64, 0).decode("ascii", errors="replace").split()
        finally:
            os.close(descriptor)
        numbers = [int(line) for line in lines if line.isdigit()]
        return (numbers[0], numbers[1] if len(numbers) > 1 else None) if numbers else None

    def lock_path(self, name: str) -> Path:
        """Return the lock file of a role."""
        return self.path / f"{name}.lock"

    def _locked_directory(self, name: str) -> Path:
        """Return the directory that a role locks: the data folder for the daemon, ``parameters`` for the trainer."""
        return self.path if name == "control" else self.parameters_path


class HeldFolder:
    """A held role of a data folder; a context manager.

    Args:
        folder: the data folder.
        lock_file: the open lock file.
        directory: the open locked directory.
    """

    def __init__(self, folder: DataFolder, lock_file: int, directory: int) -> None:
        self.folder = folder
        self._lock_file: int | None = lock_file
        self._directory = directory

    def close(self) -> None:
        """Release the role. Calling this again has no effect."""
        if self._lock_file is not None:
            os.ftruncate(self._lock_file, 0)
            _close_all([self._lock_file, self._directory])
            self._lock_file = None

    def __enter__(self) -> HeldFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
