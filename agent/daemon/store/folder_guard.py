"""The guard of the data folder: it detects a lost folder, and prevents two trainers from using one folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

import structlog

from agent.clock import Clock
from agent.daemon.stopping import StoppingError
from agent.daemon.store.thread import StoreThread
from memory.errors import FolderLostError, MemoryStoreError
from memory.folder import DataFolder
from memory.watching import FolderWatch

log = structlog.get_logger(__name__)

CHECK_PERIOD_S = 0.5
"""Seconds between two checks that the data folder and its files are still those that were opened."""

STOP_GRACE_S = 1.0
"""Time in which the supervisor of the trainer is stopped after the folder was lost."""

LOG_TRIES = 20
"""Number of attempts to move a removed write-ahead log into the database while another process reads it."""

ORPHAN_GRACE_S = 5.0
"""Time for a trainer of an earlier daemon to exit before it is killed."""


class FolderGuard:
    """A guard of the data folder of a running daemon.

    Args:
        folder: the data folder.
        clock: the clock for durations.
        on_loss: called once in the event loop, when the folder or a file in it was removed or replaced.

    Attributes:
        loss: the first detected loss; None as long as the folder is intact.
    """

    def __init__(self, folder: DataFolder, *, clock: Clock, on_loss: Callable[[], None]) -> None:
        self._folder = folder
        self._clock = clock
        self._on_loss = on_loss
        self._watch = FolderWatch(folder)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.loss: FolderLostError | None = None

    def begin(self) -> None:
        """Begin to guard the folder, in the event loop.

        Raises:
            FolderLostError: the folder is already lost.
        """
        self._loop = asyncio.get_running_loop()
        self._watch.require_unchanged()

    async def watch(self) -> None:
        """Check the folder periodically, and return when it is lost."""
        while not self.is_lost():
            await asyncio.sleep(CHECK_PERIOD_S)

    def is_lost(self) -> bool:
        """Return whether the folder is lost; the first loss is logged and passed to ``on_loss``."""
        try:
            self._watch.require_unchanged()
        except FolderLostError as error:
            self._note_loss(error)
            return True
        return False

    def require_same_store(self, identity: str | None) -> None:
        """Note the loss of the folder if its database is now that of another store.

        Args:
            identity: the UUID that was just read from the database.
        """
        try:
            self._watch.require_same_store(identity)
        except FolderLostError as error:
            self._note_loss(error)

    def require_folder(self) -> None:
        """Raise if the folder is lost and no job may start; may be called in any thread.

        Raises:
            StoppingError: the folder is lost.
        """
        try:
            self._watch.require_unchanged()
        except FolderLostError as error:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._note_loss, error)
            raise StoppingError from error

    async def save_removed_log(self, writer: StoreThread) -> None:
        """Move a removed write-ahead log, which this process still has open, into the database; log what is lost.

        This must not be interrupted: the process has the only copy of the log, and a database that holds half of it is
        damaged.
        """
        if self.loss is None or self.loss.path != self._folder.wal_path:
            return
        lost = "commits since the log was last moved into the database may be lost"
        try:
            for _ in range(LOG_TRIES):
                if await writer.call(lambda store: store.move_log_into_database()):
                    log.warning("removed write-ahead log was moved into the database: nothing is lost")
                    return
                await asyncio.sleep(0.1)
        except MemoryStoreError as error:
            log.exception("removed write-ahead log cannot be saved", lost=lost, error=str(error))
            return
        log.error("removed write-ahead log cannot be saved: another process reads the store", lost=lost)

    async def wait_for_free_folder(self, stop: asyncio.Event) -> None:
        """Wait until no other trainer uses the folder, or ``stop`` is set; kill a trainer whose daemon has exited."""
        if self.is_lost():
            await asyncio.sleep(STOP_GRACE_S)  # the supervisor is stopped in this time, and starts no trainer then
            return
        deadline = self._clock.monotonic() + ORPHAN_GRACE_S
        while (pid := self._folder.holder_pid("learner")) is not None and not stop.is_set():
            if self._clock.monotonic() > deadline:
                if self._folder.is_orphaned("learner"):
                    log.warning("killing a trainer of an earlier daemon", pid=pid)
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                else:
                    log.warning("another trainer uses the data folder; waiting until it exits", pid=pid)
                deadline += ORPHAN_GRACE_S
            await asyncio.sleep(0.1)

    def _note_loss(self, loss: FolderLostError) -> None:
        if self.loss is None:
            log.error("data folder is lost: stopping", error=str(loss))
            self.loss = loss
            self._on_loss()
