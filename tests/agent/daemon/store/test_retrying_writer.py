from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.daemon.stopping import StoppingError
from agent.daemon.store import retrying_writer as module
from agent.daemon.store.retrying_writer import RetryingWriter
from agent.daemon.store.thread import StoreThread
from memory.errors import MemoryStoreError, StoreFullError
from memory.folder import DataFolder
from memory.store import Store


@pytest.fixture(autouse=True)
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.001)


def written(
    folder: Path, use: Callable[[RetryingWriter], Awaitable[Any]], *, is_stopping: bool = False
) -> tuple[Any, int]:
    """Return the result of using a writer, and how often it reported a full disk."""

    async def run() -> tuple[Any, int]:
        thread = StoreThread("writer", lambda: Store.open(DataFolder(folder / "data")))
        await thread.open()
        full: list[None] = []
        writer = RetryingWriter(thread, is_stopping=lambda: is_stopping, on_full=lambda: full.append(None))
        try:
            return await use(writer), len(full)
        finally:
            await thread.close()

    return asyncio.run(run())


def failing(*errors: MemoryStoreError) -> Callable[[Store], str]:
    """Return a write that raises each error once, then succeeds."""
    left = list(errors)

    def write(_: Store) -> str:
        if left:
            raise left.pop(0)
        return "written"

    return write


FULL = StoreFullError(operation="writing", subject="store", found="the disk is full.")
BUSY = MemoryStoreError(operation="writing", subject="store", found="it is busy.", is_recoverable=True)
BROKEN = MemoryStoreError(operation="writing", subject="store", found="it is damaged.")


def test_a_write_is_retried_until_it_succeeds_and_space_is_freed_on_a_full_disk(tmp_path: Path) -> None:
    async def use(writer: RetryingWriter) -> tuple[str, str]:
        return await writer.write(failing(FULL, BUSY, FULL)), writer.error

    assert written(tmp_path, use) == (("written", ""), 2)


def test_an_error_that_a_retry_does_not_mend_is_raised(tmp_path: Path) -> None:
    async def use(writer: RetryingWriter) -> None:
        with pytest.raises(MemoryStoreError, match="damaged"):
            await writer.write(failing(BROKEN))

    written(tmp_path, use)


def test_a_daemon_that_stops_does_not_retry(tmp_path: Path) -> None:
    async def use(writer: RetryingWriter) -> str:
        with pytest.raises(StoppingError):
            await writer.write(failing(BUSY))
        return writer.error

    error, _ = written(tmp_path, use, is_stopping=True)
    assert "it is busy" in error
