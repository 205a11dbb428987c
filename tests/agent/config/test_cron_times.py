"""Cron lines across changes of the clock: each date once, in every zone, and steps that stay equal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from agent.config.triggers import parse_trigger

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Sao_Paulo", "UTC"]


@pytest.fixture
def set_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def set_to(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield set_to
    monkeypatch.undo()
    time.tzset()


def due_times(line: str, zone: str, *, first: str, last: str) -> list[datetime]:
    """Return the due times of a line between two dates of UTC, in the zone."""
    trigger, known = parse_trigger(f"cron: {line}"), ZoneInfo(zone)
    at, end = (datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in (first, last))
    times = []
    while (at := trigger.next_after(at)) < end:
        times.append(datetime.fromtimestamp(at, known))
    return times


@pytest.mark.parametrize("zone", [*ZONES, "CET-1CEST,M3.5.0,M10.5.0/3"])
@pytest.mark.parametrize("line", ["0 0 * * *", "30 2 * * *", "0 3 * * *", "59 23 * * *", "30 1 * * *"])
def test_each_date_comes_once(set_zone: Callable[[str], None], zone: str, line: str) -> None:
    set_zone(zone)
    shown = zone if "," not in zone else "Europe/Berlin"
    dates = [due.date() for due in due_times(line, shown, first="2025-01-01T12:00", last="2026-12-31T12:00")]
    assert dates == [dates[0] + timedelta(days=number) for number in range(len(dates))]
    assert len(dates) in {729, 730}


def test_a_time_that_is_skipped_is_due_later_and_of_two_equal_ones_the_first(
    set_zone: Callable[[str], None],
) -> None:
    set_zone("Europe/Berlin")
    spring = due_times("30 2 * * *", "Europe/Berlin", first="2025-03-29T12:00", last="2025-03-31T12:00")
    assert [f"{due:%d %H:%M}" for due in spring] == ["30 03:30", "31 02:30"]
    autumn = due_times("30 2 * * *", "Europe/Berlin", first="2025-10-25T12:00", last="2025-10-27T12:00")
    assert [f"{due:%d %H:%M%z}" for due in autumn] == ["26 02:30+0200", "27 02:30+0100"]


def test_a_question_within_the_change_has_the_same_answer(set_zone: Callable[[str], None]) -> None:
    set_zone("Europe/Berlin")
    trigger = parse_trigger("cron: 30 2 * * *")
    within_gap = datetime(2025, 3, 30, 3, 10, tzinfo=BERLIN).timestamp()
    assert trigger.next_after(within_gap) == datetime(2025, 3, 30, 3, 30, tzinfo=BERLIN).timestamp()
    second_pass = datetime(2025, 10, 26, 2, 10, fold=1, tzinfo=BERLIN).timestamp()
    assert trigger.next_after(second_pass) == datetime(2025, 10, 27, 2, 30, tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(("line", "step_s"), [("*/10 * * * *", 600), ("0 * * * *", 3600), ("* * * * *", 60)])
def test_a_line_of_every_hour_goes_on_in_equal_steps(
    set_zone: Callable[[str], None], zone: str, line: str, step_s: int
) -> None:
    set_zone(zone)
    for first, last in (("2025-03-29T20:00", "2025-03-30T06:00"), ("2025-10-25T20:00", "2025-10-26T06:00")):
        times = [due.timestamp() for due in due_times(line, zone, first=first, last=last)]
        steps = {after - before for before, after in pairwise(times)}
        assert steps == {step_s}
