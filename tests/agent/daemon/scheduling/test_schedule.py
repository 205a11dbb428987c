"""The schedule: long intervals after restarts, missed and overrun due times, clocks that are set back."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.triggers import Trigger, Window, is_within, parse_trigger, parse_window
from agent.daemon.scheduling.schedule import Entry, Schedule
from agent.daemon.scheduling.timers import Timers
from memory.folder import DataFolder
from memory.records import JobKind, JobSchedule
from memory.store import Store
from tests.agent.daemon.clocks import FakeClock

HOUR = 3600.0
BACKUP = JobKind.BACKUP


def every(interval_s: float) -> dict[JobKind, Trigger]:
    return {BACKUP: Trigger(interval_s=interval_s)}


def restored(store: Store, triggers: dict[JobKind, Trigger], clock: FakeClock) -> tuple[Schedule, dict[JobKind, int]]:
    """Return a schedule as the daemon restores it at its start, and store its entries."""
    schedule = Schedule(triggers)
    missed = schedule.restore(store.jobs.schedule(), now=clock.wall())
    for entry in schedule.entries():
        store.jobs.set_schedule(entry.kind, entry.trigger.stored(), next_due_at=entry.next_due_at)
    return schedule, missed


def test_a_six_hour_interval_fires_though_the_daemon_restarts_every_five_hours(tmp_path: Path) -> None:
    clock, runs = FakeClock(), 0
    with Store.open(DataFolder(tmp_path), clock=clock.wall) as store:
        for _ in range(12):
            schedule, _ = restored(store, every(6 * HOUR), clock)
            for _ in range(300):
                clock.advance(60)
                for kind in schedule.due(clock.wall()):
                    schedule.start(kind, clock.wall())
                    store.jobs.start(kind, reason="due", next_due_at=schedule.entry(kind).next_due_at)
                    schedule.finish(kind, clock.wall())
                    runs += 1
    assert runs == 10


def test_due_times_that_pass_while_the_daemon_is_down_are_missed_and_the_job_runs_once(tmp_path: Path) -> None:
    clock = FakeClock()
    with Store.open(DataFolder(tmp_path), clock=clock.wall) as store:
        restored(store, every(HOUR), clock)
        clock.advance(3.5 * HOUR)
        schedule, missed = restored(store, every(HOUR), clock)
        assert missed == {BACKUP: 3}
        assert schedule.due(clock.wall()) == [BACKUP]
        assert schedule.start(BACKUP, clock.wall()) == 0, "what was missed is counted once"
        assert schedule.finish(BACKUP, clock.wall()) is None
        assert schedule.due(clock.wall()) == []
        assert schedule.entry(BACKUP).next_due_at == clock.wall() + HOUR


def test_a_first_start_waits_one_interval_except_for_what_is_wanted_at_once() -> None:
    schedule = Schedule({JobKind.CONSOLIDATE: Trigger(interval_s=240), JobKind.EVALUATE: Trigger(interval_s=60)})
    assert schedule.restore([], now=100.0, at_once=[JobKind.EVALUATE]) == {}
    assert schedule.due(100.0) == [JobKind.EVALUATE]
    assert schedule.entry(JobKind.CONSOLIDATE).next_due_at == 340.0


def test_due_times_that_pass_because_the_job_could_not_start_are_missed() -> None:
    schedule = Schedule(every(60))
    schedule.restore([], now=0.0)
    assert schedule.start(BACKUP, 200.0) == 2


def test_a_job_that_is_due_again_while_it_runs_overran_and_waits_a_whole_interval_after_its_end() -> None:
    schedule = Schedule(every(60))
    schedule.restore([], now=0.0)
    assert schedule.start(BACKUP, 60.0) == 0
    assert schedule.overran(119.0) == []
    assert [entry.kind for entry in schedule.overran(121.0)] == [BACKUP]
    assert schedule.due(121.0) == []
    moved = schedule.finish(BACKUP, 170.0)
    assert moved is not None
    assert moved.next_due_at == 230.0


def test_the_longest_overdue_is_first() -> None:
    schedule = Schedule({JobKind.EVALUATE: Trigger(interval_s=60), JobKind.CHECKPOINT: Trigger(interval_s=50)})
    schedule.restore([], now=0.0)
    assert schedule.due(100.0) == [JobKind.CHECKPOINT, JobKind.EVALUATE]


def test_a_clock_that_is_set_back_does_not_stall_an_interval() -> None:
    schedule = Schedule(every(60))
    schedule.restore([], now=10_000.0)
    assert schedule.correct(9_999.0) != []
    set_back = 10_000.0 - 3 * HOUR
    assert [entry.next_due_at for entry in schedule.correct(set_back)] == [set_back + 60]
    assert schedule.correct(set_back) == []
    assert schedule.due(set_back + 60) == [BACKUP]


def test_a_clock_that_was_set_back_while_the_daemon_was_down_does_not_stall_an_interval() -> None:
    row = JobSchedule(kind=BACKUP, trigger="interval:60", last_started_at=10_000.0, next_due_at=10_060.0)
    schedule = Schedule(every(60))
    schedule.restore([row], now=500.0)
    assert schedule.entry(BACKUP).next_due_at == 560.0


def test_a_changed_interval_counts_from_the_last_start() -> None:
    row = JobSchedule(kind=BACKUP, trigger="interval:86400", last_started_at=1_000.0, next_due_at=87_400.0)
    schedule = Schedule(every(HOUR))
    schedule.restore([row], now=2_000.0)
    assert schedule.entry(BACKUP).next_due_at == 1_000.0 + HOUR


def test_a_job_that_is_off_is_never_due() -> None:
    row = JobSchedule(kind=BACKUP, trigger="interval:60", last_started_at=None, next_due_at=100.0)
    schedule = Schedule({BACKUP: parse_trigger("off")})
    assert schedule.restore([row], now=1_000.0) == {}
    assert schedule.due(1e12) == []
    assert schedule.correct(500.0) == []
    assert not schedule.bring_forward(BACKUP, 500.0)


def test_a_cron_line_counts_weekdays_from_sunday_and_local_time() -> None:
    trigger = parse_trigger("cron: 30 3 * * 0")
    due = datetime.fromtimestamp(trigger.next_after(time.time())).astimezone()
    assert (due.isoweekday(), due.hour, due.minute) == (7, 3, 30)
    workdays = parse_trigger("cron: 0 12 * * 1-5")
    at, seen = time.time(), set()
    for _ in range(10):
        at = workdays.next_after(at)
        seen.add(datetime.fromtimestamp(at).astimezone().isoweekday())
    assert seen == {1, 2, 3, 4, 5}


def test_the_due_times_of_a_cron_line_are_counted() -> None:
    trigger = parse_trigger("cron: */10 * * * *")
    first = trigger.next_after(1_800_000_000.0)
    assert trigger.num_due(first, first + 1799) == 3
    assert trigger.num_due(first, first - 1) == 0


@pytest.mark.parametrize("text", ["cron: 0 3 * *", "cron: 61 * * * *", "cron: 0 0 * * 8", "often", "0.5s", "-60"])
def test_what_is_no_trigger_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="off"):
        parse_trigger(text)


@given(interval_s=st.floats(1, 1e6), first=st.floats(0, 1e9), later_s=st.floats(0, 1e7))
def test_counting_due_times_agrees_with_walking_through_them(interval_s: float, first: float, later_s: float) -> None:
    trigger = Trigger(interval_s=interval_s)
    count = trigger.num_due(first, first + later_s)
    assert count >= 1
    assert first + (count - 1) * interval_s <= first + later_s + 1e-3
    assert first + count * interval_s > first + later_s - 1e-3


def local(text: str) -> float:
    return datetime.fromisoformat(f"2026-11-02T{text}").timestamp()


def test_a_window_over_midnight_holds_both_sides_of_it() -> None:
    windows = (parse_window("22:00-06:00"),)
    inside = {text: is_within(windows, local(text)) for text in ("21:59", "22:00", "00:00", "05:59", "06:00", "12:00")}
    expected = {"21:59": False, "22:00": True, "00:00": True, "05:59": True, "06:00": False, "12:00": False}
    assert inside == expected


def test_without_windows_practising_is_always_allowed() -> None:
    assert is_within((), local("12:00"))
    assert is_within((parse_window("12:00–13:00"), parse_window("01:00-02:00")), local("12:30"))


@given(start=st.times(), end=st.times(), at=st.times())
def test_a_window_and_its_complement_share_no_time(start: object, end: object, at: object) -> None:
    if start != end:
        window = Window(start=start, end=end)  # type: ignore[arg-type]
        complement = Window(start=end, end=start)  # type: ignore[arg-type]
        assert window.contains(at) != complement.contains(at)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["22-6", "25:00-03:00", "10:00-10:00", "10:75-11:00", ""])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="local time"):
        parse_window(text)


def test_a_timer_fires_when_its_job_is_due_and_is_moved_when_it_changes() -> None:
    clock = FakeClock()

    async def scenario() -> float:
        fired = asyncio.Event()
        timers = Timers(wake=fired.set, clock=clock)
        timers.start()
        far = Entry(kind=BACKUP, trigger=Trigger(interval_s=60), last_started_at=None, next_due_at=clock.wall() + 60)
        near = Entry(kind=BACKUP, trigger=Trigger(interval_s=60), last_started_at=None, next_due_at=clock.wall() + 0.1)
        timers.arm([far])
        timers.arm([near])
        began = time.monotonic()
        async with asyncio.timeout(5):
            await fired.wait()
        timers.stop()
        return time.monotonic() - began

    assert asyncio.run(scenario()) >= 0.09
