"""The page in headless Chromium: it loads, draws, follows the service, and says nothing on the console."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.daemon.health import Problem
from memory.folder import DataFolder
from memory.records import FamilyState
from memory.store import Store
from tests.agent.daemon.daemon_process import QUICK, DaemonProcess
from tests.browser.conftest import OpenPage
from tests.browser.folders import fill_with
from tests.browser.served_site import URL, served_site
from tests.memory.making import add_active_family
from tests.monitoring.fault_table import fault_rows
from tests.monitoring.outside_faults import FAULTS, Beside, seen
from tests.service import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(180)]

LEARNING = QUICK + '\n[jobs]\nevaluate = "1s"\nconsolidate = "off"\n'
SLOW = pytest.mark.slow
"""The mark of tests that only `make browser` runs, so that the default suite stays short."""

TOKEN = "correct-horse-battery-staple"

# Text drawn on a canvas is not in the document, so a chart counts as drawn when it has pixels of its own.
PIXELS = """canvas => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return data.some((value, index) => index % 4 === 3 && value > 0);
}"""


def still() -> str:
    """Return settings of a service that serves and does not learn: practice is allowed in another part of the day."""
    later = [datetime.now().astimezone() + timedelta(hours=hours) for hours in (8, 9)]
    window = "-".join(moment.strftime("%H:00") for moment in later)
    return QUICK + f'\n[practise]\nwindows = ["{window}"]\n[jobs]\nevaluate = "off"\nconsolidate = "off"\n'


def _is_drawn(page: Page, selector: str) -> bool:
    canvas = page.wait_for_selector(f"{selector} canvas")
    assert canvas is not None
    return bool(canvas.evaluate(PIXELS))


def _steps(page: Page) -> str:
    return page.locator("#facts div", has_text="steps").first.locator("dd").inner_text()


def _wait_for_change(page: Page, before: str) -> None:
    page.wait_for_function(
        "before => [...document.querySelectorAll('#facts div')].find(n => n.innerText.startsWith('steps'))"
        ".querySelector('dd').innerText !== before",
        arg=before,
    )


@pytest.mark.parametrize("num_families", [pytest.param(1, marks=SLOW), 6, pytest.param(200, marks=SLOW)])
def test_the_page_loads_and_draws_with_any_number_of_families(
    num_families: int, tmp_path: Path, open_page: OpenPage
) -> None:
    fill_with(tmp_path / "learnd", num_families)
    with DaemonProcess(tmp_path / "learnd", config=still()) as service:
        page, faults = open_page(service.url)
        assert page.locator("#state").inner_text() == "running"
        assert _is_drawn(page, "#curve")
        assert _is_drawn(page, "#episodes")
        assert page.locator("#family-count").inner_text().startswith(str(num_families))
        assert page.locator("#family-list .spark polyline").count() > 0
        assert page.locator("#family-list tr.row").count() <= min(num_families, 40)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if num_families > 1:
            first = page.locator("#family-list tr.row").first
            assert f"family-{num_families - 1:03}" in first.inner_text()
            assert "refused" in first.inner_text()
            assert "<b>no</b>" in page.locator("#health").inner_text()
        assert faults == []


def test_the_page_follows_the_service_while_it_learns_and_after_a_restart(tmp_path: Path, open_page: OpenPage) -> None:
    options = ("--listen", f"127.0.0.1:{free_port()}")
    with DaemonProcess(tmp_path / "learnd", config=LEARNING, options=options) as service:
        page, faults = open_page(service.url)
        page.wait_for_selector("#now .doing .what")
        _wait_for_change(page, _steps(page))
        page.wait_for_selector("#family-list .spark polyline", state="attached")
        with service.store() as store:
            store.families.set_state("pendulum", FamilyState.PAUSED, reason="paused by hand")
        page.locator("#family-list tr.row", has_text="paused").wait_for()
        assert faults == []
        service.stop()
        page.get_by_text("reconnecting").wait_for()
    with DaemonProcess(tmp_path / "learnd", config=LEARNING, options=options):
        page.locator("#live.on").wait_for()
        page.locator("#health", has_text="Nothing needs attention").wait_for()
        _wait_for_change(page, _steps(page))
        assert page.locator("#event-list", has_text="interrupted").count() <= 1
    assert faults.without_lost_connections() == []


HEALTH_COLOURS = {"red": "bad", "green": "good"}
"""The class of the page's mark of health for each colour of the manual."""

FAMILY_IS_RED = "; the family is red"


def problems_of(folder: DataFolder, fault: str) -> list[Problem]:
    """Make a fault in a data folder; return the reasons for red health."""
    with Store.open(folder) as store:
        add_active_family(store)
        beside = Beside()
        FAULTS[fault](store, beside)
        return seen(store, beside).problems


@SLOW
def test_each_fault_has_the_colour_of_the_manual(tmp_path: Path, open_page: OpenPage) -> None:
    page: Page | None = None
    with served_site() as served:
        for number, row in enumerate(fault_rows()):
            folder = DataFolder(tmp_path / str(number))
            served.show(folder, served.run(lambda folder=folder, row=row: problems_of(folder, row.fault)))
            if page is None:
                page, _ = open_page(URL, prepare=served.attach)
            else:
                page.reload()
                page.wait_for_selector("body[data-ready]")
            colour = HEALTH_COLOURS[row.colour.removesuffix(FAMILY_IS_RED)]
            assert page.locator(f"#health .{colour}").count() == 1, row.fault
            red_families = page.locator("#family-list tr.row .bad").count()
            assert red_families == row.colour.endswith(FAMILY_IS_RED), row.fault
            sign = "warn" if red_families else colour
            assert page.locator(f"#sign.{sign}").count() == 1, row.fault
            assert page.title() == (f"{page.inner_text('#sign')} · learnd" if sign == "bad" else "learnd")
            page.locator("#quarantine-list tr", has_text="5 strikes in a row").nth(0).wait_for(
                state="visible" if red_families else "detached"
            )


@SLOW
def test_the_list_is_filtered_sorted_and_moved_in_by_the_keyboard(tmp_path: Path, open_page: OpenPage) -> None:
    fill_with(tmp_path / "learnd", 60)
    with DaemonProcess(tmp_path / "learnd", config=still()) as service:
        page, faults = open_page(service.url)
        page.locator("#order").select_option("added")
        assert "family-000" in page.locator("#family-list tr.row").first.inner_text()
        page.locator("#filter").fill("family-05")
        assert page.locator("#family-count").inner_text() == "10 of 60 families"
        page.locator("#family-list a").first.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.locator("#family-title", has_text="family-051").wait_for()
        assert page.evaluate("document.activeElement.textContent") == "family-051"
        page.locator("#filter").fill("")
        page.locator("#family-list").evaluate("list => { list.scrollTop = list.scrollHeight }")
        page.locator("#family-list a", has_text="family-059").wait_for()
        assert page.locator("#family-list tr.row").count() < 40
        assert faults == []


@SLOW
def test_every_chart_has_its_numbers_as_a_table_and_every_axis_draws(tmp_path: Path, open_page: OpenPage) -> None:
    fill_with(tmp_path / "learnd", 2)
    with DaemonProcess(tmp_path / "learnd", config=still()) as service:
        page, faults = open_page(f"{service.url}#family=family-000")
        for name in ("time", "learner steps", "steps"):
            page.locator(".choice").get_by_text(name, exact=True).click()
            assert _is_drawn(page, "#curve")
        page.locator("#curve-table summary").click()
        assert page.locator("#curve-table tbody tr").count() == 6
        page.locator("#episodes-table summary").click()
        assert page.locator("#episodes-table tbody tr").count() == 3
        page.locator("#metric").select_option("rehearsal_kl")
        page.get_by_text("nothing was measured yet").first.wait_for()
        assert faults == []


@SLOW
@pytest.mark.parametrize("width", [1280, 360])
def test_no_name_of_a_family_is_broken_in_a_table(width: int, tmp_path: Path, open_page: OpenPage) -> None:
    fill_with(tmp_path / "learnd", 6)
    with DaemonProcess(tmp_path / "learnd", config=still()) as service:
        page, _ = open_page(service.url, width=width)
        for table in ("#matrix", "#memory-sizes"):
            page.wait_for_selector(f"{table} td.name a")
            lines = page.locator(f"{table} td.name a").evaluate_all("all => all.map(a => a.getClientRects().length)")
            assert set(lines) == {1}


@SLOW
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_without_scrolling_sideways(scheme: str, tmp_path: Path, open_page: OpenPage) -> None:
    fill_with(tmp_path / "learnd", 6)
    with DaemonProcess(tmp_path / "learnd", config=still()) as service:
        page, faults = open_page(service.url, width=360, height=740, scheme=scheme)
        assert _is_drawn(page, "#curve")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert faults == []


@SLOW
def test_every_control_has_a_name_and_every_section_a_heading(tmp_path: Path, open_page: OpenPage) -> None:
    fill_with(tmp_path / "learnd", 6)
    with DaemonProcess(tmp_path / "learnd", config=still()) as service:
        page, _ = open_page(service.url)
        _is_drawn(page, "#curve")
        nameless = page.evaluate("""() => [...document.querySelectorAll(
            "input, select, button, a, summary, [role=region], [role=img], nav, section, ol[tabindex]"
            )].filter(node => {
                const by = node.getAttribute("aria-labelledby");
                const name = node.getAttribute("aria-label") || (by && document.getElementById(by)?.textContent)
                    || [...(node.labels ?? [])].map(label => label.textContent).join("") || node.textContent;
                return !name.trim() && node.getAttribute("aria-hidden") !== "true";
            }).map(node => node.outerHTML.slice(0, 80))""")
        assert nameless == []
        assert page.locator("main, header, footer").count() == 3


@SLOW
def test_a_token_is_asked_for_once(tmp_path: Path, open_page: OpenPage, browser: object) -> None:
    fill_with(tmp_path / "learnd", 1)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    config = still() + f'\n[service]\ntoken_file = "{tmp_path / "token"}"\n'
    with DaemonProcess(tmp_path / "learnd", config=config) as service:
        page = browser.new_context().new_page()  # type: ignore[attr-defined]
        page.goto(service.url)
        page.get_by_label("Token").fill("wrong token, but long")
        page.get_by_role("button", name="Open").click()
        page.get_by_text("That is not the token.").wait_for()
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Open").click()
        page.wait_for_selector("body[data-ready]")
        page.reload()
        page.wait_for_selector("body[data-ready]")
        page.context.close()
