"""The pages for monitoring: text from environments in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from agent.daemon.health import Problem, RedReason
from agent.daemon.web.app import Endpoints, new_app
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
