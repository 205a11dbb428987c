"""Outcomes of runs, made by hand."""

from __future__ import annotations

from agent.experiments.budget import Budget
from agent.experiments.comparison import Entry, Outcome
from agent.experiments.run import Point, UsageTotals
from agent.experiments.scores import Estimate

BUDGET = Budget(updates=10)


def point(mean: float, *, updates: int = 10, half_width: float = 0.5, unadapted: float | None = None) -> Point:
    before = None if unadapted is None else Estimate(mean=unadapted, half_width=0.1, num_tasks=4)
    adapted = Estimate(mean=mean, half_width=half_width, num_tasks=4)
    return Point(updates=updates, cpu_s=updates / 10, adapted=adapted, unadapted=before)


def outcome(learner: str, *points: Point, last: Point | None = None, seed: int = 0, error: str = "") -> Outcome:
    totals = UsageTotals(
        budget=BUDGET, planned_updates=10, step_bytes=1000 * (seed + 1), cpu_s=2.0, points=list(points), last=last
    )
    return Outcome(entry=Entry(learner=learner, seed=seed), updates=10, ledger=None if error else totals, error=error)
