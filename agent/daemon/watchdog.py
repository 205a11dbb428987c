"""The watchdog of the service manager, which is notified as long as every part of the daemon makes progress."""

from __future__ import annotations

import asyncio

import structlog

from agent.clock import Clock
from agent.config.settings import LearnerSettings
from agent.daemon.jobs.dispatcher import Dispatcher
from agent.daemon.processes.supervisor import Supervisor
from agent.daemon.store.poller import StorePoller
from agent.daemon.store.thread import StoreThread
from agent.daemon.systemd import Notifier

log = structlog.get_logger(__name__)

MAX_SILENCE_S = 60.0
"""Time without progress of the daemon's own loops after which the watchdog is no longer notified."""


class Watchdog:
    """A task that notifies the watchdog of the service manager.

    Args:
        notifier: the sender of notifications.
        settings: time-outs of the trainer.
        clock: the clock for durations.
        dispatcher, poller, writer, supervisor: the parts that must make progress.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        settings: LearnerSettings,
        clock: Clock,
        dispatcher: Dispatcher,
        poller: StorePoller,
        writer: StoreThread,
        supervisor: Supervisor,
    ) -> None:
        self._notifier = notifier
        self._settings = settings
        self._clock = clock
        self._dispatcher = dispatcher
        self._poller = poller
        self._writer = writer
        self._supervisor = supervisor

    async def run(self) -> None:
        """Notify the watchdog periodically, as long as there is progress, until cancelled."""
        period_s = self._notifier.watchdog_period_s
        while period_s is not None:
            stalled = self.stalled_part()
            if stalled:
                log.error("no progress: the watchdog is not notified", found=stalled)
            else:
                self._notifier.alive()
            await asyncio.sleep(period_s)
        await asyncio.Event().wait()

    def use(self, settings: LearnerSettings) -> None:
        """Take over the time-outs of the trainer."""
        self._settings = settings

    def stalled_part(self) -> str:
        """Return the name of a part that has made no progress for too long, with the time; empty if there is none."""
        settings = self._settings
        limit_s = max(settings.stall_timeout_s, settings.start_timeout_s) + MAX_SILENCE_S
        for name, silent_s, allowed_s in (
            ("dispatcher", self._clock.monotonic() - self._dispatcher.last_look_at, MAX_SILENCE_S),
            ("store reader", self._poller.age_s, MAX_SILENCE_S),
            ("store writer", self._writer.busy_s, MAX_SILENCE_S),
            ("trainer", self._supervisor.stalled_s, limit_s),
        ):
            if silent_s > allowed_s:
                return f"{name}, for {silent_s:.0f} s"
        return ""
