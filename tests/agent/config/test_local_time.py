"""Local time: every form of TZ that the C library accepts, without tzlocal, for cron lines and windows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from agent.config.local_time import (
    SystemTime,
    check_time_zone,
    is_zone_known,
    local_zone,
    use_time_zone,
    zone_name,
)
from agent.config.settings import Settings
from agent.config.triggers import Window, is_within, parse_trigger, parse_window
from agent.errors import SettingsError

CENTRAL_EUROPE = "CET-1CEST,M3.5.0,M10.5.0/3"
ZoneSetter = Callable[[str | None], None]


@pytest.fixture
def set_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[ZoneSetter]:
    """Return a function that sets ``TZ`` for this process, including the C library."""

    def set_to(value: str | None) -> None:
        if value is None:
            monkeypatch.delenv("TZ", raising=False)
        else:
            monkeypatch.setenv("TZ", value)
        time.tzset()

    yield set_to
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def due_after(line: str, text: str) -> str:
    due = parse_trigger(f"cron: {line}").next_after(at(text))
    return datetime.fromtimestamp(due, UTC).isoformat(timespec="minutes").removesuffix("+00:00")


@pytest.mark.parametrize(
    ("zone", "due"),
    [
        ("UTC-3", "2026-07-01T00:00"),
        ("UTC+3", "2026-07-01T06:00"),
        ("<+0330>-3:30", "2026-07-01T23:30"),
        (CENTRAL_EUROPE, "2026-07-01T01:00"),
        (f":{CENTRAL_EUROPE}", "2026-07-01T01:00"),
        ("Europe/Berlin", "2026-07-01T01:00"),
        (":Europe/Berlin", "2026-07-01T01:00"),
        ("/usr/share/zoneinfo/Europe/Berlin", "2026-07-01T01:00"),
        (":/usr/share/zoneinfo/Europe/Berlin", "2026-07-01T01:00"),
        ("EST5EDT", "2026-07-01T07:00"),
        ("", "2026-07-01T03:00"),
    ],
)
def test_a_cron_line_holds_in_the_zone_that_tz_names(set_zone: ZoneSetter, zone: str, due: str) -> None:
    if "/usr/share" in zone and not Path(zone.removeprefix(":")).exists():
        pytest.skip("this machine has no time zone database")
    set_zone(zone)
    check_time_zone()
    assert due_after("0 3 * * *", "2026-06-30T23:45") == due


def test_a_posix_string_gives_the_due_times_of_the_zone_it_describes_all_year(set_zone: ZoneSetter) -> None:
    trigger, found = parse_trigger("cron: 30 2 * * *"), {}
    for zone in (CENTRAL_EUROPE, "Europe/Berlin"):
        set_zone(zone)
        dues, now = [], at("2026-01-01T00:00")
        for _ in range(365):
            now = trigger.next_after(now)
            dues.append(now)
        found[zone] = dues
    assert found[CENTRAL_EUROPE] == found["Europe/Berlin"]


def test_system_time_agrees_with_the_database_across_both_changes_of_the_clock(set_zone: ZoneSetter) -> None:
    set_zone(CENTRAL_EUROPE)
    berlin = ZoneInfo("Europe/Berlin")
    for change in ("2026-03-29T00:00", "2026-10-24T23:00"):
        for quarters in range(16):
            moment = datetime.fromtimestamp(at(change), UTC) + timedelta(minutes=15 * quarters)
            ours, theirs = moment.astimezone(SystemTime()), moment.astimezone(berlin)
            assert (ours.replace(tzinfo=None), ours.fold) == (theirs.replace(tzinfo=None), theirs.fold)
            assert ours.timestamp() == moment.timestamp()
            assert (ours.utcoffset(), ours.tzname()) == (theirs.utcoffset(), theirs.tzname())


def test_windows_hold_in_the_same_zone_as_cron_lines(set_zone: ZoneSetter) -> None:
    set_zone("UTC-3")
    window: Window = parse_window("02:00-04:00")
    assert is_within((window,), at("2026-07-01T00:00"))
    assert not is_within((window,), at("2026-07-01T03:00"))


@pytest.mark.parametrize(
    "zone",
    ["Europe/Nowhere", "UTC-99", "UTC-24", "U-3", "CET-1CEST,M13.5.0,M10.5.0", "/nowhere", ":/etc", "Europe", "../etc"],
)
def test_what_names_no_zone_is_refused_in_one_sentence_and_counts_as_utc(set_zone: ZoneSetter, zone: str) -> None:
    set_zone(zone)
    assert not is_zone_known()
    with pytest.raises(SettingsError, match="TZ = ") as refused:
        check_time_zone()
    (problem,) = refused.value.problems
    assert (problem.key, problem.value) == ("TZ", repr(zone))
    assert local_zone() is UTC
    assert due_after("0 3 * * *", "2026-07-01T00:00") == "2026-07-01T03:00"


def test_a_file_that_is_no_zone_is_refused(set_zone: ZoneSetter, tmp_path: Path) -> None:
    path = tmp_path / "zone"
    path.write_text("Europe/Berlin")
    set_zone(str(path))
    assert not is_zone_known()


def test_without_tz_the_c_library_decides_and_no_file_of_the_distribution_is_read(set_zone: ZoneSetter) -> None:
    set_zone(None)
    assert is_zone_known()
    assert isinstance(local_zone(), SystemTime)
    now = datetime.fromtimestamp(at("2026-07-01T00:00"), UTC)
    assert now.astimezone(local_zone()).utcoffset() == now.astimezone().utcoffset()


def test_the_timers_need_no_local_zone(set_zone: ZoneSetter) -> None:
    from agent.daemon.scheduling.timers import Timers
    from tests.agent.daemon.clocks import FakeClock

    set_zone("UTC-3")
    Timers(wake=lambda: None, clock=FakeClock())


def test_the_setting_takes_the_place_of_tz_and_a_wrong_one_is_refused(set_zone: ZoneSetter) -> None:
    set_zone("UTC")
    assert zone_name() == "UTC"
    assert zone_name("Asia/Tokyo") == "Asia/Tokyo"
    use_time_zone("")
    assert due_after("0 3 * * *", "2026-07-01T00:00") == "2026-07-01T03:00"
    use_time_zone("Asia/Tokyo")
    assert due_after("0 3 * * *", "2026-07-01T00:00") == "2026-07-01T18:00"
    assert zone_name() == "Asia/Tokyo"
    assert Settings(service={"time_zone": "Europe/Berlin"}).service.time_zone == "Europe/Berlin"
    with pytest.raises(ValidationError, match="a time zone such as"):
        Settings(service={"time_zone": "Europe/Berln"})


def test_without_tz_the_zone_has_the_name_of_its_file(set_zone: ZoneSetter) -> None:
    set_zone(None)
    assert zone_name()
