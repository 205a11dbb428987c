"""Timers, by APScheduler: they wake the dispatcher at due times, which :mod:`.schedule` keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from math import isinf

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger

from agent.clock import Clock
from agent.daemon.scheduling.schedule import Entry


class Timers:
    """A timer for each scheduled kind of job.

    Args:
        wake: called in the event loop when a timer fires.
        clock: the clock of the due times.
    """

    def __init__(self, *, wake: Callable[[], None], clock: Clock) -> None:
        self._wake = wake
        self._clock = clock
        self._armed: dict[str, float] = {}
        self._scheduler = AsyncIOScheduler(timezone=UTC)  # the default, the local zone, may not be found

    def start(self) -> None:
        """Start the timers."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop the timers."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def arm(self, entries: Iterable[Entry]) -> None:
        """Set the timers to the entries' due times; timers that are already set to them do not change."""
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
