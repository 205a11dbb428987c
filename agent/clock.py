"""Time, passed in: timestamps from the wall clock, durations from the monotonic clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The two clocks that the service reads."""

    def wall(self) -> float:
        """Seconds since the epoch, UTC; may step either way."""
        ...

    def monotonic(self) -> float:
        """Seconds since some instant; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since boot."""
        return time.monotonic()
