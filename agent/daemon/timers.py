"""APScheduler as the timer: it wakes the dispatcher when something is due, and holds no truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from math import isinf

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger

from agent.clock import Clock
from agent.daemon.schedule import Entry


class Timers:
    """One timer per scheduled kind.

    Args:
        wake: called in the event loop when a timer fires.
        clock: the clock that due times are told by.
    """

    def __init__(self, *, wake: Callable[[], None], clock: Clock) -> None:
        self._wake = wake
        self._clock = clock
        self._armed: dict[str, float] = {}
        self._scheduler = AsyncIOScheduler(timezone=UTC)  # without one it looks the local zone up, which can fail

    def start(self) -> None:
        """Begin to fire."""
        self._scheduler.start()

    def stop(self) -> None:
        """Fire no more."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def arm(self, entries: Iterable[Entry]) -> None:
        """Set the timers to the entries' due times; those already set so are left alone."""
        for entry in entries:
            if self._armed.get(entry.kind) == entry.next_due_at:
                continue
            self._armed[entry.kind] = entry.next_due_at
            if isinf(entry.next_due_at):
                continue
            delay = timedelta(seconds=max(0.0, entry.next_due_at - self._clock.wall()))
            self._scheduler.add_job(
                self._wake,
                DateTrigger(datetime.now(UTC) + delay, timezone=UTC),
                id=entry.kind,
                replace_existing=True,
                misfire_grace_time=None,
            )
