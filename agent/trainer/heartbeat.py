"""The trainer's heartbeat. Work sends it as it advances; no separate thread does, so it stops when the work hangs."""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.trainer.channel import Channel

PERIOD_S = 0.5


class JobInterruptedError(Exception):
    """The daemon requested a stop while a job that can be abandoned was running."""


class Heartbeat:
    """A counter of units of work that reports to the daemon every ``PERIOD_S`` and receives its stop request.

    Args:
        channel: the connection to the daemon.
        monotonic: the clock, in seconds.

    Attributes:
        on_close_request: called at a beat after the daemon has requested to close what is not wanted any more; an
            exception from it ends the work.
    """

    def __init__(self, channel: Channel, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._monotonic = monotonic
        self._sent_at = -PERIOD_S
        self._units = 0
        self._run_id: int | None = None
        self._phase = "idle"
        self.on_close_request: Callable[[], None] = lambda: None

    def begin(self, run_id: int, phase: str) -> None:
        """Count the work of a new job from now on."""
        self._run_id, self._phase, self._units = run_id, phase, 0

    @property
    def is_stop_requested(self) -> bool:
        """Return whether the daemon has requested a stop; requests are received at a beat."""
        return self._channel.is_stop_requested

    def beat(self, units: int = 1) -> None:
        """Count ``units`` more units of work.

        Raises:
            ChannelClosedError: the daemon has exited.
        """
        self._units += units
        now = self._monotonic()
        if now - self._sent_at < PERIOD_S:
            return
        self._sent_at = now
        self._channel.send_progress(run_id=self._run_id, phase=self._phase, units=self._units)
        self._channel.poll()
        if self._channel.take_close_request():
            self.on_close_request()

    def beat_or_give_up(self, units: int = 1) -> None:
        """Count ``units`` more units of a job that can be abandoned without loss.

        Raises:
            JobInterruptedError: the daemon has requested a stop.
            ChannelClosedError: the daemon has exited.
        """
        self.beat(units)
        if self.is_stop_requested:
            raise JobInterruptedError
