"""Clocks, passed as arguments: timestamps are from the wall clock, durations from the monotonic clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A pair of clocks: wall clock and monotonic clock."""

    def wall(self) -> float:
        """Return seconds since the epoch, UTC. The wall clock may be set forward or back."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary instant. The value never decreases."""
        ...


class SystemClock:
    """A pair of the machine's clocks."""

    def wall(self) -> float:
        """Return seconds since the epoch, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since boot."""
        return time.monotonic()
