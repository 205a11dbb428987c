"""The measures of continual learning: Wołczyk et al. 2021 (arXiv:2105.10919), section 4.

p_i(t) in [0, 1] is the score of family i at time t, and family i is practised in its own window.

- Performance: p_i(T), averaged over families to P.
- Forgetting: F_i = p_i(end of its own window) - p_i(T). The last family's is 0 and is left out of the mean.
- Forward transfer: FT_i = (AUC_i - AUC_i^single) / (1 - AUC_i^single), where AUC is the mean of p_i over its own window
  and single is the family learned alone from scratch for the same time. The first family's is 0 but for noise, because
  it is learned from scratch as well; it is left out of the mean.
- FT by steps: the same with means over equally many environment steps. It does not depend on the speed of the machine,
  nor on the time that rehearsal takes.

Departure: theirs averages p over the last five evaluations of few episodes; here one evaluation plays many tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NUM_BOOTSTRAPS = 10_000
LEAST_ROOM = 0.01
"""Least denominator of forward transfer: a family that is solved at once leaves no room to measure it."""
REACHED_SHARE = 0.9
"""Share of the score that a family reaches alone, which counts as reached."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """A score of a family in its own window.

    Attributes:
        elapsed_s: CPU-seconds of the window so far.
        env_steps: environment steps of the window so far.
        score: p_i.
    """

    elapsed_s: float
    env_steps: int
    score: float


@dataclass(frozen=True, kw_only=True)
class FamilyScores:
    """The measurements of one family in one run.

    Attributes:
        curve: the scores in its own window, from before practice to its end.
        final: p_i(T).
        alone: the curve of the family learned alone; empty if it was not.
        is_first: whether its window was the first.
        is_last: whether its window was the last.
    """

    curve: Sequence[CurvePoint]
    final: float
    alone: Sequence[CurvePoint] = field(default=())
    is_first: bool = False
    is_last: bool = False

    @property
    def forgetting(self) -> float:
        """F_i."""
        return self.curve[-1].score - self.final

    @property
    def forward_transfer(self) -> float:
        """FT_i."""
        return _transfer(area(self.curve), area(self.alone))

    @property
    def forward_transfer_by_steps(self) -> float:
        """FT_i over the environment steps that both curves have."""
        steps = min(self.curve[-1].env_steps, self.alone[-1].env_steps)
        return _transfer(area_by_steps(self.curve, steps), area_by_steps(self.alone, steps))


def area(curve: Sequence[CurvePoint]) -> float:
    """Return the mean score over the time of a curve, by the trapezoidal rule."""
    times = np.array([point.elapsed_s for point in curve])
    scores = np.array([point.score for point in curve])
    return float(np.trapezoid(scores, times) / (times[-1] - times[0]))


def area_by_steps(curve: Sequence[CurvePoint], num_steps: int) -> float:
    """Return the mean score over the first environment steps of a curve, by the trapezoidal rule."""
    steps = np.array([point.env_steps for point in curve], dtype=np.float64)
    scores = np.array([point.score for point in curve])
    is_within = steps < num_steps
    steps_within = np.append(steps[is_within], num_steps)
    scores_within = np.append(scores[is_within], np.interp(num_steps, steps, scores))
    return float(np.trapezoid(scores_within, steps_within) / num_steps)


def steps_to(curve: Sequence[CurvePoint], score: float) -> float | None:
    """Return the environment steps after which a curve first reaches a score, interpolated; None if it never does."""
    for before, after in zip((None, *curve[:-1]), curve, strict=True):
        if after.score >= score:
            if before is None:
                return float(after.env_steps)
            share = (score - before.score) / (after.score - before.score)
            return before.env_steps + share * (after.env_steps - before.env_steps)
    return None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A mean over families and seeds with its 90% bootstrap interval."""

    mean: float
    low: float
    high: float


def figures(rows: Sequence[FamilyScores]) -> dict[str, Figure]:
    """Return P, F, FT and P relative to the families learned alone, over all families and seeds.

    A measure is left out if no row has what it needs.
    """
    alone = [row for row in rows if row.alone]
    earlier = [row for row in rows if not row.is_last]
    found = {"P": _figure([row.final for row in rows])}
    if earlier:
        found["F"] = _figure([row.forgetting for row in earlier])
    if later := [row for row in alone if not row.is_first]:
        found["FT"] = _figure([row.forward_transfer for row in later])
        found["FT by steps"] = _figure([row.forward_transfer_by_steps for row in later])
    if alone:
        finals, singles = [row.final for row in alone], [row.alone[-1].score for row in alone]
        found["P / single"] = ratio(finals, singles)
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 90% bootstrap interval of the mean."""
    drawn = _drawn(len(values))
    return _percentiles(np.array(values)[drawn].mean(1))


def ratio(values: Sequence[float], others: Sequence[float]) -> Figure:
    """Return the ratio of two means over the same families and seeds, with its 90% bootstrap interval."""
    above, below, drawn = np.array(values), np.array(others), _drawn(len(values))
    low, high = _percentiles(above[drawn].mean(1) / np.maximum(below[drawn].mean(1), 1e-9))
    return Figure(mean=float(above.mean() / max(below.mean(), 1e-9)), low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Plasticity:
    """How fast families are learned late in a sequence, beside a fresh learner.

    Attributes:
        steps: mean steps to ``REACHED_SHARE`` of the score that each family reaches alone; the whole window's where it
            was not reached.
        steps_alone: the same of the fresh learner.
        ratio: of the two, with its 90% bootstrap interval.
        num_reached: families and seeds that reached it.
        num_families: families and seeds.
    """

    steps: float
    steps_alone: float
    ratio: Figure
    num_reached: int
    num_families: int


def plasticity(rows: Sequence[FamilyScores]) -> Plasticity:
    """Return the steps that families which were also learned alone take, beside a fresh learner's."""
    steps, steps_alone, num_reached = [], [], 0
    for row in rows:
        target = REACHED_SHARE * row.alone[-1].score
        reached = steps_to(row.curve, target)
        num_reached += reached is not None
        steps.append(float(row.curve[-1].env_steps) if reached is None else reached)
        steps_alone.append(steps_to(row.alone, target) or 0.0)
    return Plasticity(
        steps=float(np.mean(steps)),
        steps_alone=float(np.mean(steps_alone)),
        ratio=ratio(steps, steps_alone),
        num_reached=num_reached,
        num_families=len(rows),
    )


def _transfer(own: float, single: float) -> float:
    return (own - single) / max(LEAST_ROOM, 1.0 - single)


def _figure(values: Sequence[float]) -> Figure:
    low, high = interval(values)
    return Figure(mean=float(np.mean(values)), low=low, high=high)


def _drawn(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(count, size=(NUM_BOOTSTRAPS, count))


def _percentiles(means: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(means, [5, 95])
    return float(low), float(high)
