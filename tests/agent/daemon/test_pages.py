"""Text from environments on the pages and in notifications to systemd."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from agent.daemon.health import Problem, RedReason
from agent.daemon.http.server import Endpoints, new_app
from agent.daemon.systemd import Notifier
from tests.agent.cli.hostile import HOSTILE, hidden_characters
from tests.agent.daemon.exposition import new_text


@pytest.fixture
def get() -> Callable[[str], httpx.Response]:
    """Return a function that gets a page of a service whose every text is hostile."""
    problem = Problem(reason=next(iter(RedReason)), found=f"<b>{HOSTILE}", hint=HOSTILE)
    answers = Endpoints(metrics=new_text(None), problems=lambda: [problem], state=lambda: "running")

    async def ask(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=new_app(answers))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path)

    return lambda path: asyncio.run(ask(path))


def test_health_is_answered_whatever_its_reasons_say(get: Callable[[str], httpx.Response]) -> None:
    answer = get("/healthz")
    assert answer.status_code == 503
    assert not hidden_characters(answer.json()["reasons"][0]["found"])


def test_systemd_is_told_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notifier = Notifier()
        notifier.status(f"{HOSTILE}\nREADY=1\rWATCHDOG=1")
        told = manager.recv(4096)
        notifier.close()
    assert told.startswith(b"STATUS=closed [/red]")
    assert not {b"\n", b"\r", b"\x1b"} & {told[i : i + 1] for i in range(len(told))}
