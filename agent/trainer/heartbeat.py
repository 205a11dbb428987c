"""The learner's heartbeat: beaten by the work itself as it advances, never by a thread beside it."""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.trainer.channel import Channel

PERIOD_S = 0.5


class JobInterruptedError(Exception):
    """Control asked to stop while a job that can be given up was running."""


class Heartbeat:
    """Counts units of work, tells control now and then, and hears its call to stop.

    Args:
        channel: the way to control.
        monotonic: the clock, in seconds.
    """

    def __init__(self, channel: Channel, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._monotonic = monotonic
        self._sent_at = -PERIOD_S
        self._units = 0
        self._run_id: int | None = None
        self._phase = "idle"

    def begin(self, run_id: int, phase: str) -> None:
        """Beat for a new job from now on."""
        self._run_id, self._phase, self._units = run_id, phase, 0

    @property
    def is_stop_requested(self) -> bool:
        """Whether control has asked to stop; heard at a beat."""
        return self._channel.is_stop_requested

    def beat(self, units: int = 1) -> None:
        """Count ``units`` more units of work.

        Raises:
            ChannelClosedError: control is gone.
        """
        self._units += units
        now = self._monotonic()
        if now - self._sent_at < PERIOD_S:
            return
        self._sent_at = now
        self._channel.send_progress(run_id=self._run_id, phase=self._phase, units=self._units)
        self._channel.poll()

    def beat_or_give_up(self, units: int = 1) -> None:
        """Count work of a job that loses nothing by being given up.

        Raises:
            JobInterruptedError: control has asked to stop.
            ChannelClosedError: control is gone.
        """
        self.beat(units)
        if self.is_stop_requested:
            raise JobInterruptedError
