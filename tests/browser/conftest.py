"""Headless Chromium, for tests of the page. Without Chromium or playwright they are skipped and say so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 20_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a browser. It is closed with the module, because playwright keeps an event loop running meanwhile."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("Chromium is not installed (apt install chromium)")
    # The sandbox of Chromium does not start as root or in most containers.
    options = ["--no-sandbox", "--disable-dev-shm-usage"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


class Faults(list[str]):
    """What a browser reported of a page: errors of the console, exceptions, and requests to other hosts."""

    def without_lost_connections(self) -> list[str]:
        """Return the faults without the failed requests that a stopped service causes."""
        return [fault for fault in self if "net::ERR_" not in fault]


OpenPage = Callable[..., "tuple[Page, Faults]"]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Return a function that opens the page of a service and waits until it is drawn."""
    contexts = []

    def open_(
        url: str,
        *,
        width: int = 1280,
        height: int = 900,
        scheme: str = "light",
        prepare: Callable[[Page], None] = lambda _: None,
    ) -> tuple[Page, Faults]:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,  # type: ignore[arg-type]
            locale="en-GB",
        )
        contexts.append(context)
        page, faults = context.new_page(), Faults()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", lambda said: faults.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        origin = url.partition("#")[0]
        page.on("request", lambda sent: None if sent.url.startswith(origin) else faults.append(f"asked {sent.url}"))
        prepare(page)
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        return page, faults

    yield open_
    for context in contexts:
        context.close()
