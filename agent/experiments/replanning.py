"""Estimates of the number of updates that a budget in seconds allows, made again while the run goes on.

The first estimate is made from a few updates of a new learner. Later updates may take several times as long, because
trials grow with what is learned, or a fraction of that. Each later estimate is made from the updates since the one
before.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.experiments.budget import Budget

ESTIMATES_AT = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
"""Shares of the time at which the number of updates is estimated again."""

FEWEST_UPDATES = 3
"""Updates between two estimates, at least."""

NOTABLE = 0.1
"""Relative difference of an estimate that the plan follows. Following one restarts the family's worker."""


@dataclass(frozen=True, kw_only=True)
class LastEstimate:
    """The progress of a run at its last estimate.

    Attributes:
        cpu_s: processor seconds that were spent.
        updates: outer steps that were taken.
    """

    cpu_s: float = 0.0
    updates: int = 0


def is_estimate_due(budget: Budget, last: LastEstimate, *, cpu_s: float, updates: int) -> bool:
    """Return whether another estimate is due: the time is past one of ``ESTIMATES_AT`` since the last estimate.

    Args:
        budget: the budget; one in updates needs no estimate.
        last: the progress at the last estimate.
        cpu_s: processor seconds spent so far.
        updates: outer steps so far.
    """
    if budget.cpu_s is None or updates - last.updates < FEWEST_UPDATES:
        return False
    return any(last.cpu_s < share * budget.cpu_s <= cpu_s for share in ESTIMATES_AT)


def planned_again(budget: Budget, last: LastEstimate, *, cpu_s: float, updates: int) -> int:
    """Return the number of updates of the whole run, at the speed since the last estimate.

    Raises:
        ValueError: the budget is in updates.
    """
    if budget.cpu_s is None:
        raise ValueError("the number of updates of a budget in updates is given")
    seconds_per_update = max(1e-9, (cpu_s - last.cpu_s) / (updates - last.updates))
    return max(updates + 1, updates + round((budget.cpu_s - cpu_s) / seconds_per_update))


def is_notable(planned: int, before: int) -> bool:
    """Return whether the plan follows an estimate."""
    return abs(planned - before) > NOTABLE * before
