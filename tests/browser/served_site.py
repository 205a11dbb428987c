"""A page whose requests are answered by a service's pages within the test, without a daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from agent.daemon.health import Problem
from agent.daemon.web.live import STREAM_PATH
from memory.folder import DataFolder
from tests.agent.daemon.web.conftest import Site

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

T = TypeVar("T")
URL = "http://127.0.0.1/"
OF_THE_WIRE = {"content-encoding", "content-length"}
"""Headers that do not hold for a body that was decoded."""


class ServedSite:
    """Answers of the pages of a service that the test chooses.

    The pages run in a thread, because the browser's driver keeps an event loop running in the test's own.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._site: Site | None = None

    def run(self, work: Callable[[], T]) -> T:
        """Run something in the thread, such as a coroutine."""
        return self._thread.submit(work).result()

    def show(self, folder: DataFolder, problems: list[Problem]) -> None:
        """Serve the pages of a service with this data folder and these reasons for red health from now on."""
        self.close_site()
        self._site = self._thread.submit(Site, folder).result()
        self._site.problems = problems

    def attach(self, page: Page) -> None:
        """Answer every request of a page."""
        page.route("**/*", self._answer)

    def _answer(self, route: Route) -> None:
        assert self._site is not None
        path = urlsplit(route.request.url).path
        if path == STREAM_PATH:
            route.fulfill(status=503, headers={"retry-after": "60"})
            return
        found = self._thread.submit(self._site.get, route.request.url.removeprefix(URL[:-1])).result()
        headers = {name: value for name, value in found.headers.items() if name not in OF_THE_WIRE}
        route.fulfill(status=found.status_code, headers=headers, body=found.content)

    def close_site(self) -> None:
        if self._site is not None:
            self._thread.submit(self._site.close).result()

    def close(self) -> None:
        self.close_site()
        self._thread.shutdown()


@contextmanager
def served_site() -> Iterator[ServedSite]:
    """Yield pages to choose."""
    served = ServedSite()
    try:
        yield served
    finally:
        served.close()
