"""Detection of removed or replaced files that a running daemon has open."""

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

    A file that does not exist at the start is watched from the moment it is first seen. Files are never opened, only
    examined by name: closing a descriptor of the database would drop the locks that SQLite holds in this process.

    Args:
        folder: the data folder. This process holds it and has its store open.
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
        self._store_ids: set[str | None] = set()

    def require_unchanged(self) -> None:
        """Check that every file is the one that was seen before.

        Raises:
            FolderLostError: a file was removed, replaced or emptied.
        """
        for path, hint in self._hints.items():
            if found := self._change_of(path):
                raise FolderLostError(operation="watching the data folder", path=path, found=found, hint=hint)

    def require_same_store(self, store_id: str | None) -> None:
        """Check that the database still has the UUID that it had at the first call.

        A database that is overwritten in place (``cp``) keeps its inode.

        Args:
            store_id: the UUID that was read from the database just now.

        Raises:
            FolderLostError: it is another store's.
        """
        self._store_ids.add(store_id)
        if len(self._store_ids) > 1:
            raise FolderLostError(
                operation="watching the data folder",
                path=self.folder.store_path,
                found=f"it was overwritten while learnd ran: now it has the UUID {store_id}.",
                hint=_RESTORE,
            )

    def _change_of(self, path: Path) -> str:
        """Return a description of a file's change; empty if the file is the known one."""
        known = self._known.get(path)
        try:
            stats = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return "" if known is None else "it was removed while learnd ran."
        except OSError:
            return ""  # A failing disk is no evidence of a change; reading the store reports the failure.
        present = (stats.st_dev, stats.st_ino)
        if self._known.setdefault(path, present) != present:
            return "it was replaced by another while learnd ran."
        if path == self.folder.store_path and stats.st_size <= 1:
            return "it was emptied while learnd ran."
        return ""
