"""Compute performance and forgetting of a family from its evaluations.

Definitions (Continual World, Wołczyk et al. 2021, arXiv:2105.10919, section 3), with p_i(t) the score of family i at
time t, averaged over ``WINDOW`` evaluations:

- performance P_i = p_i(now); the service's is the mean over families with a scale.
- forgetting F_i = p_i(reached) − p_i(now).

Departure: in Continual World a family has one window of practice, and p_i(reached) is taken at its end. Here practice
may go on for months, so it is the highest p_i until the end of the last practice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean
from typing import TYPE_CHECKING

from memory.records import CurveMetric, CurvePoint, Family, FamilyState, StoredCurvePoint

if TYPE_CHECKING:
    from memory.store import Store

WINDOW = 5
"""Number of evaluations whose mean is compared."""


class ScoreUnit(StrEnum):
    """The difference of returns that counts as 1."""

    REFERENCE = "reference"
    """From random actions to the reference: these are the family's scores."""

    REACHED = "reached"
    """From random actions to what the family had reached; of a family without a reference."""


@dataclass(frozen=True, kw_only=True)
class Retention:
    """The mean held-out trial returns that a family had reached and that it gets now.

    Attributes:
        reached: the highest mean of ``WINDOW`` evaluations in a row until the end of its last practice.
        now: the mean of its last ``WINDOW`` evaluations, or of fewer.
    """

    reached: float
    now: float


@dataclass(frozen=True, kw_only=True)
class Measures:
    """The continual-learning measures of a family.

    Attributes:
        unit: the unit of the scores.
        reached: score that it had reached.
        performance: P_i, the score now.
        forgetting: F_i = reached − performance; negative if it gained since its last practice.
    """

    unit: ScoreUnit
    reached: float
    performance: float

    @property
    def forgetting(self) -> float:
        """The part of what was reached that is lost."""
        return self.reached - self.performance


@dataclass(frozen=True, kw_only=True)
class ScoreScale:
    """A conversion of trial returns to scores, also for a family without a reference.

    Attributes:
        unit: what counts as 1.
        random_return: the trial return of score 0.
        span: the difference of trial returns that counts as 1; positive.
    """

    unit: ScoreUnit
    random_return: float
    span: float

    def score(self, trial_return: float) -> float:
        """Return the score of a trial return."""
        return (trial_return - self.random_return) / self.span


def score_scale(family: Family, found: Retention | None) -> ScoreScale | None:
    """Return the scale of a family's scores; None if it has none.

    A family without a reference has a scale once it has reached more or less than random actions.

    Args:
        family: the family.
        found: what it had reached, which is the unit if the family has no reference.
    """
    random_return = family.random_return or 0.0
    if family.has_scale and family.reference_return is not None:
        span, unit = family.reference_return - random_return, ScoreUnit.REFERENCE
    else:
        span, unit = 0.0 if found is None else abs(found.reached - random_return), ScoreUnit.REACHED
    return ScoreScale(unit=unit, random_return=random_return, span=span) if span > 0 else None


def measure(family: Family, found: Retention | None) -> Measures | None:
    """Return a family's measures; None if it was not evaluated since its first practice, or has no scale."""
    scale = score_scale(family, found)
    if found is None or scale is None:
        return None
    return Measures(unit=scale.unit, reached=scale.score(found.reached), performance=scale.score(found.now))


def retention_of(store: Store, family: Family) -> Retention | None:
    """Return what a family of the store had reached and what it gets now (:func:`retention`)."""
    evaluations = store.curves.points(family.name, CurveMetric.EVAL_RETURN)
    practised = store.curves.points(family.name, CurveMetric.TRIAL_RETURN, limit=1)
    return retention(family, evaluations, last_step=practised[0].learner_steps if practised else None)


def retention(family: Family, evaluations: Sequence[StoredCurvePoint], *, last_step: int | None) -> Retention | None:
    """Return what a family had reached and what it gets now; None if it was not evaluated since its first practice.

    While the family is active, all evaluations are in its practice. Otherwise only those after its last practice count
    as now. Few evaluations may be left of a short practice; therefore each of the two around its end also counts as
    reached.

    Args:
        family: the family.
        evaluations: the curve of its held-out return, oldest first.
        last_step: the learner step of its last practice; None if it is not known.
    """
    points = [p for p in evaluations if p.meta_updates > 0 and math.isfinite(p.point.value)]
    if not points:
        return None
    after = [] if family.state is FamilyState.ACTIVE else _after_practice(family, points, last_step)
    values = [point.point.value for point in points]
    if not after:
        return Retention(reached=best_mean(values), now=fmean(values[-WINDOW:]))
    num_before = len(points) - len(after)
    until_end = values[: num_before + 1]  # The first evaluation after the end is the nearest to it.
    reached = max(best_mean(until_end), *until_end[-2:])
    return Retention(reached=reached, now=fmean(values[num_before:][-WINDOW:]))


def _after_practice(
    family: Family, points: Sequence[StoredCurvePoint], last_step: int | None
) -> Sequence[StoredCurvePoint]:
    """Return the evaluations after the family's last practice, in which others may have been practised.

    An evaluation right after the last learner step of the family shows what was reached. Where the numbers of learner
    steps are not known, this is the first of those with the family's present totals.
    """
    ended = [point for point in points if point.meta_updates == family.totals.meta_updates]
    if last_step is None or any(point.learner_steps is None for point in ended):
        return ended[1:]
    return [point for point in ended if point.learner_steps is not None and point.learner_steps > last_step]


def best_mean(values: Sequence[float]) -> float:
    """Return the highest mean of ``WINDOW`` values in a row; of all values if there are fewer."""
    width = min(WINDOW, len(values))
    return max(fmean(values[start : start + width]) for start in range(len(values) - width + 1))


def average_performance(families: Iterable[Family], performance: Mapping[str, float]) -> float | None:
    """Return P, the mean performance of the families that have a reference; None if none was measured.

    Args:
        families: the families that count.
        performance: the newest performance of each family, by name.
    """
    scored = {family.name for family in families if family.has_scale}
    finite = [value for name, value in performance.items() if name in scored and math.isfinite(value)]
    return fmean(finite) if finite else None


def measure_points(measures: Measures | None) -> tuple[CurvePoint, ...]:
    """Return the curve points of a family's measures."""
    if measures is None:
        return ()
    return (
        CurvePoint(metric=CurveMetric.PERFORMANCE, value=measures.performance),
        CurvePoint(metric=CurveMetric.FORGETTING, value=measures.forgetting),
    )
