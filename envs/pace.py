"""The usual speed of a family's environment, from which the time limits of its steps and resets follow.

A limit of 30 s per step is long for an environment whose steps take 0.1 ms: if one takes 5 s, it hangs. The same limit
is short for a simulator whose steps take 25 s. So the limit follows what the environment usually takes:

    limit = max(SLOW_FACTOR · u, min(step_timeout_s, max(shortest_limit_s, USUAL_FACTOR · u)))

with u the longest step (or reset) of a copy that was observed. Until enough is known, the limit is ``step_timeout_s``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

USUAL_FACTOR = 20.0
"""A step may take this many times the longest one so far, within ``step_timeout_s``."""

SLOW_FACTOR = 3.0
"""A step may take this many times the longest one so far, also beyond ``step_timeout_s``."""

KNOWN_AFTER = 100
"""The number of answered requests after which the longest step and reset of a worker are its usual ones."""


NOTABLE_CHANGE = 0.25
"""The relative change of a value from which on it is recorded again."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The usual speed of a family's environment.

    Attributes:
        longest_step_s: longest step of one copy, in seconds; 0 if none was long enough to be noticed; None if too
            little was observed.
        longest_reset_s: the same of a reset.
        steps_per_s: environment steps per second of all copies together, with resets; None if it is unknown.
        trial_steps: steps of a trial with random actions; None if it is unknown.
    """

    longest_step_s: float | None = None
    longest_reset_s: float | None = None
    steps_per_s: float | None = None
    trial_steps: float | None = None

    def differs(self, other: Pace) -> bool:
        """Return whether another pace differs by more than :data:`NOTABLE_CHANGE` in a value, or does not know one."""
        pairs = zip(self.to_json().values(), other.to_json().values(), strict=True)
        return any(_differ(mine, theirs) for mine, theirs in pairs)

    def to_json(self) -> dict[str, Any]:
        """Return the values as JSON values."""
        return {
            "longest_step_s": self.longest_step_s,
            "longest_reset_s": self.longest_reset_s,
            "steps_per_s": self.steps_per_s,
            "trial_steps": self.trial_steps,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Pace:
        """Return the pace that :meth:`to_json` wrote; values of another form count as unknown."""
        return cls(
            longest_step_s=_duration(values.get("longest_step_s")),
            longest_reset_s=_duration(values.get("longest_reset_s")),
            steps_per_s=_duration(values.get("steps_per_s")) or None,
            trial_steps=_duration(values.get("trial_steps")) or None,
        )


UNKNOWN_PACE = Pace()
"""The pace of an environment of which nothing was observed."""


def limit_s(longest_s: float | None, *, timeout_s: float, shortest_s: float) -> float:
    """Return the longest time that one step or reset of a copy may take, in seconds.

    Args:
        longest_s: the longest one that was observed; None if too little was observed.
        timeout_s: the limit while too little was observed (``workers.step_timeout_s``).
        shortest_s: the shortest limit, unless ``timeout_s`` is shorter.
    """
    if longest_s is None:
        return timeout_s
    usual = max(shortest_s, USUAL_FACTOR * longest_s)
    return max(SLOW_FACTOR * longest_s, min(timeout_s, usual))


def _differ(mine: float | None, theirs: float | None) -> bool:
    if mine is None or theirs is None:
        return mine is not theirs
    return abs(mine - theirs) > NOTABLE_CHANGE * max(mine, theirs)


def _duration(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) and value >= 0 else None
