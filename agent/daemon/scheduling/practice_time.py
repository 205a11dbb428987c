"""The virtual time of each family: the trainer's time that its practice took lately, divided by its weight.

Time is divided by the weight that a family has when the time is taken. So a weight that falls afterwards does not make
the family wait for the others to take as much again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

HALF_LIFE_S = 300.0
"""Seconds after which virtual time counts half, so that shares of time follow the present weights."""

CATCH_UP_S = 60.0
"""The most virtual time, in seconds, that a family catches up on which could not be practised for a while."""


class PracticeTime:
    """The virtual time of each family, in seconds, of which older ones count less.

    A family without a record joins at the least of the others, so that neither side has to catch up on the past of the
    other.
    """

    def __init__(self) -> None:
        self._virtual_s: dict[str, float] = {}
        self._weights: dict[str, float] = {}
        self._at = 0.0

    def add(self, family: str, taken_s: float, *, now: float) -> None:
        """Count seconds that the practice of a family took until ``now`` (monotonic seconds)."""
        self._age(now)
        joined_s = self._virtual_s.get(family, min(self._virtual_s.values(), default=0.0))
        self._virtual_s[family] = joined_s + taken_s / self._weights.get(family, 1.0)

    def of(self, weights: Mapping[str, float], *, now: float) -> dict[str, float]:
        """Return the virtual time of each family, note the families' present weights, and forget all others."""
        self._age(now)
        self._weights = dict(weights)
        known = {name: virtual_s for name, virtual_s in self._virtual_s.items() if name in weights}
        least_s = min(known.values(), default=0.0)
        self._virtual_s = {name: known.get(name, least_s) for name in weights}
        return dict(self._virtual_s)

    def limit_lags(self, choosable: Collection[str]) -> None:
        """Limit how far the families that cannot be chosen now are behind those that can be.

        Otherwise a family that could not be practised for an hour would afterwards take all time, until it has caught
        up on that hour.
        """
        bound_s = min((self._virtual_s[name] for name in choosable), default=0.0) - CATCH_UP_S
        for name in self._virtual_s.keys() - set(choosable):
            self._virtual_s[name] = max(self._virtual_s[name], bound_s)

    def _age(self, now: float) -> None:
        share = 0.5 ** (max(0.0, now - self._at) / HALF_LIFE_S)
        self._virtual_s = {name: virtual_s * share for name, virtual_s in self._virtual_s.items()}
        self._at = max(self._at, now)
