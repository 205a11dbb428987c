"""The poller of the store, which keeps its newest snapshot in memory."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable

import structlog

from agent.clock import Clock
from agent.daemon.store.snapshot import Snapshot, read_snapshot
from agent.daemon.store.thread import StoreThread
from memory.errors import MemoryStoreError
from memory.folder import DataFolder
from memory.records import FamilyState
from memory.store import Store

log = structlog.get_logger(__name__)

POLL_PERIOD_S = 1.0


class StorePoller:
    """A poller that reads a snapshot of the store once a second.

    Args:
        reader: the thread with the store to read.
        folder: the data folder.
        clock: the clock for durations.
        on_identity: called with the UUID of the database at each reading.
        on_unwanted: called when a family was removed or paused since the last reading.
        on_snapshot: called with each new snapshot in the reader's thread, before the snapshot is published.

    Attributes:
        snapshot: the newest snapshot; None before the first.
        disk_free_bytes: free bytes on the data folder's file system.
        disk_size_bytes: its size.
        read_error: error of the last attempt to read; empty if it succeeded.
    """

    def __init__(
        self,
        reader: StoreThread,
        *,
        folder: DataFolder,
        clock: Clock,
        on_identity: Callable[[str | None], None],
        on_unwanted: Callable[[], None] = lambda: None,
        on_snapshot: Callable[[Snapshot], None] = lambda _: None,
    ) -> None:
        self._reader = reader
        self._folder = folder
        self._clock = clock
        self._on_identity = on_identity
        self._on_unwanted = on_unwanted
        self._on_snapshot = on_snapshot
        self._read_at = clock.monotonic()
        self.snapshot: Snapshot | None = None
        self.disk_free_bytes = 2**63
        self.disk_size_bytes = 2**63
        self.read_error = ""

    @property
    def age_s(self) -> float:
        """Seconds since the store was last read."""
        return self._clock.monotonic() - self._read_at

    async def poll(self, *, is_over: Callable[[], bool]) -> None:
        """Read the store once a second until ``is_over()``."""
        while not is_over():
            await self.poll_once()
            await asyncio.sleep(POLL_PERIOD_S)

    async def poll_once(self) -> None:
        """Read a new snapshot of the store into memory."""
        before = self.snapshot
        try:
            self._on_identity(await self._reader.call(Store.identity))
            self.snapshot = await self._reader.call(lambda store: self._read(store, before))
            disk = shutil.disk_usage(self._folder.path)
            self.disk_free_bytes, self.disk_size_bytes = disk.free, disk.total
            if _practised(before) - _practised(self.snapshot):
                self._on_unwanted()
            self._read_at, self.read_error = self._clock.monotonic(), ""
        except (MemoryStoreError, OSError) as error:
            if not self.read_error:
                log.exception("store cannot be read")
            self.read_error = str(error)

    def _read(self, store: Store, before: Snapshot | None) -> Snapshot:
        snapshot = read_snapshot(store, before)
        if snapshot is not before:
            self._on_snapshot(snapshot)
        return snapshot


def _practised(snapshot: Snapshot | None) -> set[int]:
    """Return the ids of the families that have or may get a worker."""
    families = () if snapshot is None else snapshot.families
    return {family.id for family in families if family.state in {FamilyState.ACTIVE, FamilyState.PENDING}}
