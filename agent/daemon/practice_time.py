"""The trainer's time that the practice of each family has taken lately, from which shares of time follow."""

from __future__ import annotations

from collections.abc import Iterable

HALF_LIFE_S = 300.0
"""Seconds after which time that was taken counts half, so that shares follow the present weights."""


class PracticeTime:
    """The trainer's time that each family has taken lately: seconds, of which older ones count less.

    A family without a record joins at the least of the others, so that it does not have to catch up on their past.
    """

    def __init__(self) -> None:
        self._taken_s: dict[str, float] = {}
        self._at = 0.0

    def add(self, family: str, taken_s: float, *, now: float) -> None:
        """Count seconds that the practice of a family took until ``now`` (monotonic seconds)."""
        self._age(now)
        joined_s = self._taken_s.get(family, min(self._taken_s.values(), default=0.0))
        self._taken_s[family] = joined_s + taken_s

    def of(self, families: Iterable[str], *, now: float) -> dict[str, float]:
        """Return the seconds of each family, and forget all others."""
        self._age(now)
        names = set(families)
        self._taken_s = {name: taken_s for name, taken_s in self._taken_s.items() if name in names}
        least_s = min(self._taken_s.values(), default=0.0)
        return {name: self._taken_s.get(name, least_s) for name in names}

    def _age(self, now: float) -> None:
        share = 0.5 ** (max(0.0, now - self._at) / HALF_LIFE_S)
        self._taken_s = {name: taken_s * share for name, taken_s in self._taken_s.items()}
        self._at = max(self._at, now)
