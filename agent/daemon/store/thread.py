"""Blocking work outside the event loop, in daemon threads, which do not delay the exit of the process."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from memory.store import Store

T = TypeVar("T")


class StoreThread:
    """A store that is used in its own thread, so that a slow disk never blocks the event loop.

    Args:
        name: name of the thread.
        open_store: opens the store; it is called in that thread.
    """

    def __init__(self, name: str, open_store: Callable[[], Store]) -> None:
        self._name = name
        self._open_store = open_store
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._store: Store | None = None
        self._busy_since: float | None = None

    @property
    def busy_s(self) -> float:
        """Seconds since the current call started; 0 if no call runs."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    async def open(self) -> None:
        """Start the thread and open the store. After a failure this may be called again.

        Raises:
            MemoryStoreError: the store cannot be opened.
        """
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()
        try:
            await self._run(self._open)
        except BaseException:
            self._calls.put(None)
            self._thread = None
            raise

    async def call(self, function: Callable[[Store], T]) -> T:
        """Run ``function(store)`` in the thread, after all earlier calls, and return its result."""

        def with_store() -> T:
            if self._store is None:
                raise RuntimeError(f"the store thread {self._name!r} is not open")
            return function(self._store)

        return await self._run(with_store)

    async def close(self) -> None:
        """Close the store after all earlier calls, and end the thread."""
        if self._thread is None:
            return
        await self._run(self._close)
        self._calls.put(None)
        self._thread.join()
        self._thread = None

    async def close_within(self, within_s: float) -> None:
        """Close as :meth:`close` does, and give up after ``within_s`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.close()

    def _open(self) -> None:
        self._store = self._open_store()

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    async def _run(self, function: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put(lambda: _settle(loop, future, function))
        return await future

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            self._busy_since = time.monotonic()
            call()
            self._busy_since = None


async def in_daemon_thread(name: str, function: Callable[[], T]) -> T:
    """Run ``function()`` in a new daemon thread and return its result."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    threading.Thread(target=_settle, args=(loop, future, function), name=name, daemon=True).start()
    return await future


def _settle(loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], function: Callable[[], T]) -> None:
    """Run ``function`` in this thread and pass its outcome to ``future``; do nothing if the loop has closed."""
    outcome: tuple[Callable[[Any], None], Any]
    try:
        outcome = future.set_result, function()
    except BaseException as error:  # noqa: BLE001 -- raised in the awaiting task
        outcome = future.set_exception, error

    def settle() -> None:
        if not future.done():
            outcome[0](outcome[1])

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        return
