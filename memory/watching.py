"""Watching the files that a running daemon relies on: whether they are still the ones it opened."""

from __future__ import annotations

from pathlib import Path

from memory.errors import FolderLostError
from memory.folder import DataFolder

_START_AGAIN = "Start learnd again."
_PUT_BACK = "Put it back and start learnd again; nothing was written to what is there now."
_RESTORE = "Put it back, or restore a backup (`learnd memory restore newest`), and start learnd again."
_LOG = "It is part of the database; never remove it."


class FolderWatch:
    """The identity, (device, inode), of a data folder and of the files in it that a daemon holds open.

    A file that is not there at the start counts from the moment it is first seen. Files are looked at by name only:
    closing a descriptor of the database would drop the locks that SQLite holds in this process.

    Args:
        folder: the data folder, held, with its store open.
    """

    def __init__(self, folder: DataFolder) -> None:
        self.folder = folder
        wal = folder.wal_path
        self._hints = {
            folder.path: _PUT_BACK,
            folder.lock_path("control"): _START_AGAIN,
            folder.lock_path("learner"): _START_AGAIN,
            folder.store_path: _RESTORE,
            wal: _LOG,
            wal.with_name(wal.name.removesuffix("-wal") + "-shm"): _LOG,
            folder.parameters_path: _RESTORE,
            folder.parameters_path / ".lock": _START_AGAIN,
        }
        self._known: dict[Path, tuple[int, int]] = {}

    def require_unchanged(self) -> None:
        """Check that every file is the one that was there before.

        Raises:
            FolderLostError: one was removed, replaced or emptied.
        """
        for path, hint in self._hints.items():
            if found := self._change_of(path):
                raise FolderLostError(operation="watching the data folder", path=path, found=found, hint=hint)

    def _change_of(self, path: Path) -> str:
        """Return what became of a file; empty while it is the one that is known."""
        known = self._known.get(path)
        try:
            stats = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return "" if known is None else "it was removed while learnd ran."
        except OSError:
            return ""  # a disk that does not answer says nothing about the file; reading the store reports it
        present = (stats.st_dev, stats.st_ino)
        if self._known.setdefault(path, present) != present:
            return "it was replaced by another while learnd ran."
        if path == self.folder.store_path and stats.st_size <= 1:
            return "it was emptied while learnd ran."
        return ""
