"""Clocks for tests."""

from __future__ import annotations


class FakeClock:
    """A clock that tests advance by hand; its wall time can also be set."""

    def __init__(self, wall: float = 1_800_000_000.0) -> None:
        self.now = wall
        self.elapsed = 0.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.elapsed

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.elapsed += seconds
