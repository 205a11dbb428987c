"""Sizes of episodic memory. Every commit updates the sums, so a query stays fast when the store grows."""

from __future__ import annotations

import os
from pathlib import Path

from memory.connection import Row, StoreConnection
from memory.folder import DataFolder
from memory.records import FamilyMemory, MemoryStats, StoreSizes

_PER_FAMILY = """
SELECT name, kept_trials, kept_episodes, kept_bytes,
       (SELECT count(*) FROM rehearsal_trials WHERE family_id = families.id) AS rehearsal_trials,
       (SELECT recorded_at FROM trials WHERE family_id = families.id ORDER BY trials.id LIMIT 1) AS oldest_at,
       (SELECT recorded_at FROM trials WHERE family_id = families.id ORDER BY trials.id DESC LIMIT 1) AS newest_at
FROM families WHERE state <> 'removed' ORDER BY id
"""


class Statistics:
    """The sizes of a store."""

    def __init__(self, connection: StoreConnection, folder: DataFolder) -> None:
        self._connection = connection
        self._folder = folder

    def memory_stats(self) -> MemoryStats:
        """Return the size of episodic memory per family, and the space that the store takes on the disk."""
        with self._connection.snapshot():
            families = tuple(_family_memory(row) for row in self._connection.rows(_PER_FAMILY))
            return MemoryStats(families=families, **vars(self.sizes()))

    def kept_episodes(self) -> dict[str, int]:
        """Return the number of each family's episodes in episodic memory, by its name.

        :meth:`memory_stats` looks into the trials of each family, which takes ten times as long.
        """
        found = self._connection.rows("SELECT name, kept_episodes FROM families WHERE state <> 'removed' ORDER BY id")
        return {row["name"]: row["kept_episodes"] for row in found}

    def sizes(self) -> StoreSizes:
        """Return the space that the store takes on the disk."""
        with self._connection.snapshot():
            page_bytes = int(self._connection.value("PRAGMA page_size"))
            num_free_pages = int(self._connection.value("PRAGMA freelist_count"))
            parameters = self._connection.value("SELECT coalesce(sum(size_bytes), 0) FROM parameter_files")
        disk = os.statvfs(self._folder.path)
        return StoreSizes(
            database_bytes=_size(self._folder.store_path),
            free_bytes=page_bytes * num_free_pages,
            wal_bytes=_size(wal_path(self._folder.store_path)),
            parameters_bytes=int(parameters),
            disk_free_bytes=disk.f_bavail * disk.f_frsize,
        )


def wal_path(store_path: Path) -> Path:
    """Return the path of a database's write-ahead log."""
    return store_path.with_name(store_path.name + "-wal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _family_memory(row: Row) -> FamilyMemory:
    return FamilyMemory(
        family=row["name"],
        trials=row["kept_trials"],
        episodes=row["kept_episodes"],
        size_bytes=row["kept_bytes"],
        rehearsal_trials=row["rehearsal_trials"],
        oldest_at=row["oldest_at"],
        newest_at=row["newest_at"],
    )
