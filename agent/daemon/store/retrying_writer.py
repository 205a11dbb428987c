"""Writes to the store that are retried until they succeed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import structlog

from agent.daemon.stopping import StoppingError
from agent.daemon.store.thread import StoreThread
from memory.errors import MemoryStoreError, StoreFullError
from memory.store import Store

log = structlog.get_logger(__name__)

T = TypeVar("T")

RETRY_S = 1.0
"""Time between two tries."""


class RetryingWriter:
    """A writer that retries as long as the store cannot be written.

    Args:
        thread: the store, in its own thread.
        is_stopping: returns whether the daemon stops.
        on_full: called on an error of a full disk.
    """

    def __init__(self, thread: StoreThread, *, is_stopping: Callable[[], bool], on_full: Callable[[], None]) -> None:
        self._thread = thread
        self._is_stopping = is_stopping
        self._on_full = on_full
        self.error = ""

    async def call(self, function: Callable[[Store], T]) -> T:
        """Run ``function(store)`` once and return its result.

        Raises:
            MemoryStoreError: the store cannot be read or written.
        """
        return await self._thread.call(function)

    async def write(self, function: Callable[[Store], T]) -> T:
        """Run ``function(store)`` and return its result; retry as long as the store cannot be written.

        Raises:
            MemoryStoreError: the store has an error that a retry does not mend.
            StoppingError: the daemon stops before a write has succeeded.
        """
        while True:
            try:
                result = await self._thread.call(function)
            except MemoryStoreError as error:
                if not (error.is_recoverable or isinstance(error, StoreFullError)):
                    raise
                self.note(error)
                if self._is_stopping():
                    raise StoppingError from error
                await asyncio.sleep(RETRY_S)
            else:
                self.error = ""
                return result

    def note(self, error: MemoryStoreError) -> None:
        """Keep the error, log it unless it was the last one, and free space if the disk is full."""
        if str(error) != self.error:
            log.error("store cannot be written", error=str(error))
            self.error = str(error)
        if isinstance(error, StoreFullError):
            self._on_full()
