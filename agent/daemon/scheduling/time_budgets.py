"""Budgets of the trainer's time for kinds of jobs that are due again and again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from memory.records import JobKind


class TimeBudgets:
    """The largest shares of the trainer's time for some kinds of jobs.

    After a run of s seconds, a kind of share p is not due for s (1/p - 1) seconds. Some kinds may run ahead: they wait
    only when these times add up to more than a bound.

    Args:
        shares: the share of each kind that has a budget, above 0 to 1.
        ahead_s: how far kinds may run ahead, in seconds; the others may not.
    """

    def __init__(self, shares: Mapping[JobKind, float], *, ahead_s: Mapping[JobKind, float] | None = None) -> None:
        self._shares, self._ahead_s = dict(shares), dict(ahead_s or {})
        self._until: dict[JobKind, float] = {}

    def use(self, shares: Mapping[JobKind, float]) -> None:
        """Take over shares, from the next run on."""
        self._shares = dict(shares)

    def note(self, kind: JobKind, took_s: float, *, now: float) -> None:
        """Note a run that took so many seconds until ``now`` (monotonic seconds)."""
        if kind in self._shares:
            left_s = max(0.0, self._until.get(kind, -math.inf) - (now - took_s))  # when the run began
            self._until[kind] = now + left_s + took_s * (1.0 / self._shares[kind] - 1.0)

    def within(self, kinds: Iterable[JobKind], *, now: float) -> list[JobKind]:
        """Return the kinds that have not used up their budgets, in the same order."""
        return [kind for kind in kinds if self._until.get(kind, now) <= now + self._ahead_s.get(kind, 0.0)]
