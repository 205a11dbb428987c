"""A service's page and /api/v1 on a filled data folder, without sockets and without a daemon."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from agent.clock import SystemClock
from agent.config.settings import Settings
from agent.daemon.health import Problem
from agent.daemon.store.thread import StoreThread
from agent.daemon.web.access import AccessRules
from agent.daemon.web.api import ApiSources
from agent.daemon.web.app import Endpoints, new_app
from agent.daemon.web.site import Web
from memory.folder import DataFolder
from memory.store import Store
from tests.agent.cli.filled_store import fill
from tests.agent.cli.unscaled import add_unscaled
from tests.agent.daemon.exposition import new_text

T = TypeVar("T")
OPEN = AccessRules(listen_host="127.0.0.1")


class CountingThread(StoreThread):
    """A store thread that counts its calls."""

    num_calls = 0

    async def call(self, function: Callable[[Store], T]) -> T:
        self.num_calls += 1
        await asyncio.sleep(0)
        return await super().call(function)


class Site:
    """The pages of a service on a data folder.

    Attributes:
        revision: the number that the service's snapshot has; tests raise it when the store has changed.
        problems: the reasons for red health.
    """

    def __init__(self, folder: DataFolder, rules: AccessRules = OPEN) -> None:
        self.folder = folder
        self.revision = 1
        self.problems: list[Problem] = []
        self.reader = CountingThread("test-reader", lambda: Store.open(folder, is_reader=True))
        sources = ApiSources(
            reader=self.reader,
            revision=lambda: self.revision,
            status=self._status,
            problems=lambda: self.problems,
            settings=Settings,
            clock=SystemClock(),
        )
        self.web = Web(sources, rules=rules, snapshot=lambda: None, state=lambda: "running", summary=lambda: "idle")
        endpoints = Endpoints(metrics=new_text(None), problems=lambda: self.problems, state=lambda: "running")
        self.app = self.web.protected(new_app(endpoints, self.web.routes(256)))
        asyncio.run(self.reader.open())

    def _status(self) -> Mapping[str, Any]:
        return {"pid": os.getpid(), "state": "running", "started_at": 5.0, "listen": "127.0.0.1:9464", "reasons": []}

    def get(self, path: str, *, method: str = "GET", **headers: str) -> httpx.Response:
        """Return the answer to one request. Underscores in the names of headers stand for hyphens."""
        return asyncio.run(self.request(path, method=method, **headers))

    async def request(self, path: str, *, method: str = "GET", **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app)
        sent = {name.replace("_", "-"): value.encode("latin-1") for name, value in headers.items()}
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, headers=sent)

    def json(self, path: str) -> Any:
        answer = self.get(f"/api/v1{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def close(self) -> None:
        asyncio.run(self.reader.close())


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    """Return a data folder with six families that have scores and one that has none; tests do not write to it."""
    folder = fill(tmp_path_factory.mktemp("site") / "learnd", rounds=15)
    add_unscaled(folder)
    return folder


@pytest.fixture
def new_site(folder: DataFolder) -> Iterator[Callable[..., Site]]:
    """Return a function that makes the pages of a service, with these rules of access."""
    made: list[Site] = []

    def make(rules: AccessRules = OPEN, *, on: DataFolder | None = None) -> Site:
        made.append(Site(on or folder, rules))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Site:
    """Return the pages of a service that anyone on the machine may read."""
    return new_site()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Return a file with a token, and a second line that does not count."""
    path = tmp_path / "token"
    path.write_text("correct-horse-battery-staple\nsecond line\n")
    return path
