"""The dispatcher's watch continues after an unexpected error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import structlog

from agent.config.settings import Settings
from agent.daemon import dispatcher as module
from agent.daemon.dispatcher import Dispatcher
from memory.folder import DataFolder
from tests.agent.daemon.clocks import FakeClock


class _Stumbling(Dispatcher):
    """A dispatcher whose first three checks fail."""

    looks = 0

    async def _look(self) -> None:
        self.looks += 1
        if self.looks <= 3:
            raise KeyError("a row of an unknown form")


def _dispatcher(folder: Path, clock: FakeClock) -> _Stumbling:
    unused: Any = None
    return _Stumbling(
        settings=Settings(data_dir=folder),
        folder=DataFolder(folder),
        writer=unused,
        supervisor=unused,
        clock=clock,
        snapshot=lambda: None,
        on_change=lambda: None,
    )


def test_an_unexpected_error_does_not_end_the_watch_and_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.001)

    async def watch() -> tuple[float, float]:
        clock = FakeClock()
        dispatcher = _dispatcher(tmp_path, clock)
        clock.advance(10)
        watching = asyncio.create_task(dispatcher.watch())
        while dispatcher.looks < 3:
            await asyncio.sleep(0.001)
        stuck_at = dispatcher.last_look_at
        while dispatcher.looks < 6:
            await asyncio.sleep(0.001)
        watching.cancel()
        return stuck_at, dispatcher.last_look_at

    with structlog.testing.capture_logs() as logged:
        stuck_at, looked_at = asyncio.run(watch())
    assert [entry["event"] for entry in logged] == ["requests and due times cannot be checked; retrying"]
    assert (stuck_at, looked_at) == (0.0, 10.0)
