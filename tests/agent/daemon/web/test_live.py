"""The stream of changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from starlette.applications import Starlette

from agent.daemon.store.snapshot import read_snapshot
from agent.daemon.web.live import HEARTBEAT, LiveMessage, LiveStream, live_values
from memory.folder import DataFolder
from memory.store import Store


def _no_limit() -> None:
    pass


class Service:
    """A service whose present message the test sets."""

    def __init__(self, **limits: Any) -> None:
        self.value = 0
        self.num_looks = 0
        self.stream = LiveStream(self._values, **limits)

    def _values(self) -> dict[str, Any]:
        self.num_looks += 1
        return {"revision": self.value}

    def client(self) -> AsyncIterator[bytes]:
        return self.stream.messages(_no_limit)


async def _next(client: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(5):
        return await anext(client)


def _values_of(message: bytes) -> Any:
    return json.loads(message.partition(b"data: ")[2])


def test_a_client_gets_the_present_message_and_then_each_change_once() -> None:
    async def follow() -> None:
        service = Service()
        client = service.client()
        assert (await _next(client)).startswith(b"retry: ")
        assert _values_of(await _next(client)) == {"revision": 0}
        service.stream.look()
        service.value = 7
        service.stream.look()
        assert _values_of(await _next(client)) == {"revision": 7}

    asyncio.run(follow())


def test_a_message_is_computed_once_for_all_clients_and_never_without_one() -> None:
    async def follow() -> None:
        service = Service()
        service.stream.look()
        assert service.num_looks == 0
        clients = [service.client() for _ in range(5)]
        for client in clients:
            await _next(client)
            await _next(client)
        before, service.value = service.num_looks, 1
        service.stream.look()
        told = [_values_of(await _next(client)) for client in clients]
        assert told == [{"revision": 1}] * 5
        assert service.num_looks == before + 1

    asyncio.run(follow())


def test_a_quiet_stream_has_heartbeats_and_restarts_the_time_limit_of_the_connection() -> None:
    async def follow() -> None:
        kept: list[int] = []
        client = Service(heartbeat_s=0.01).stream.messages(lambda: kept.append(1))
        assert [await _next(client) for _ in range(4)][2:] == [HEARTBEAT, HEARTBEAT]
        assert len(kept) == 3

    asyncio.run(follow())


def test_a_client_beyond_the_limit_is_asked_to_come_back() -> None:
    async def crowd() -> None:
        service = Service(max_clients=2)
        clients = [service.client() for _ in range(2)]
        for client in clients:
            await _next(client)
        transport = httpx.ASGITransport(app=Starlette(routes=[service.stream.route()]))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as asking:
            answer = await asking.get("/api/v1/stream")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        await clients[0].aclose()  # type: ignore[attr-defined]
        assert service.stream.num_clients == 1

    asyncio.run(crowd())


def test_a_service_that_stops_ends_every_stream() -> None:
    async def stop() -> None:
        service = Service()
        client = service.client()
        await _next(client)
        await _next(client)
        service.stream.close()
        assert [part async for part in client] == []
        assert service.stream.num_clients == 0

    asyncio.run(stop())


def test_a_message_fits_its_model_before_and_after_the_first_snapshot(folder: DataFolder) -> None:
    with Store.open(folder, is_reader=True) as store:
        snapshot = read_snapshot(store, None)
    for taken in (None, snapshot):
        message = LiveMessage.model_validate(live_values(taken, state="running", summary="idle", is_red=False))
    assert message.evaluations > 0
    assert message.health == "ok"
