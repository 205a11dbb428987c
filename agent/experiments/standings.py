"""The results of a comparison: the runs of each learner combined, the best learner first. Imports without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from agent.experiments.scores import Estimate, Measure

if TYPE_CHECKING:
    from agent.experiments.comparison import Outcome
    from agent.experiments.run import Point, UsageTotals


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A learner's score at one moment of its runs.

    Attributes:
        updates: outer steps taken, the mean over runs.
        cpu_s: processor seconds spent, the mean over runs.
        score: mean over runs and held-out tasks; the interval is over tasks, the mean over runs.
        lowest: lowest score of a run; of a single run, the lower end of the interval.
        highest: highest score of a run, or the upper end.
    """

    updates: float
    cpu_s: float
    score: Estimate
    lowest: float
    highest: float


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The combined runs of one learner, one per seed.

    Attributes:
        learner: the learner's name.
        ledgers: the totals of the runs that did not fail.
        updates: the outer steps of each of these runs.
        errors: the errors of the runs that failed.
    """

    learner: str
    ledgers: tuple[UsageTotals, ...]
    updates: tuple[int, ...]
    errors: tuple[str, ...]

    @property
    def last(self) -> Moment | None:
        """The score at the end; None if no run has reached it."""
        reached = [ledger.last for ledger in self.ledgers if ledger.last is not None]
        return _moment(reached) if reached else None

    @property
    def unadapted(self) -> Estimate | None:
        """The score before adaptation at the end; None if there is none."""
        found = [ledger.last.unadapted for ledger in self.ledgers if ledger.last and ledger.last.unadapted]
        return _mean(found) if found else None

    @property
    def ms_per_update(self) -> float:
        """Processor milliseconds of an outer step."""
        return 1e3 * sum(ledger.cpu_s for ledger in self.ledgers) / max(1, sum(self.updates))

    @property
    def bytes_per_update(self) -> int:
        """The largest number of bytes of tensors that an outer step held at once."""
        return max(ledger.step_bytes for ledger in self.ledgers)

    def curve(self) -> list[Moment]:
        """Return the scores along the way and at the end, up to the last point that all runs have reached."""
        curves = [_points(ledger) for ledger in self.ledgers]
        return [_moment(points) for points in zip(*curves, strict=False)]


def standings(outcomes: Sequence[Outcome], measure: Measure) -> list[Standing]:
    """Combine the runs of each learner: the best learner first, those without a score at the end last."""
    learners = dict.fromkeys(outcome.entry.learner for outcome in outcomes)
    found = [_standing(name, [one for one in outcomes if one.entry.learner == name]) for name in learners]
    sign = -1.0 if measure.is_larger_better else 1.0

    def rank(standing: Standing) -> tuple[bool, float]:
        last = standing.last
        return last is None, 0.0 if last is None else sign * last.score.mean

    return sorted(found, key=rank)


def _standing(learner: str, outcomes: Sequence[Outcome]) -> Standing:
    whole = [(outcome.ledger, outcome.updates) for outcome in outcomes if outcome.ledger is not None]
    return Standing(
        learner=learner,
        ledgers=tuple(ledger for ledger, _ in whole),
        updates=tuple(updates for _, updates in whole),
        errors=tuple(outcome.error for outcome in outcomes if outcome.ledger is None),
    )


def _points(ledger: UsageTotals) -> Iterator[Point]:
    yield from ledger.points
    if ledger.last is not None:
        yield ledger.last


def _moment(points: Sequence[Point]) -> Moment:
    score = _mean([point.adapted for point in points])
    means = [point.adapted.mean for point in points]
    is_single = len(points) == 1
    return Moment(
        updates=fmean(point.updates for point in points),
        cpu_s=fmean(point.cpu_s for point in points),
        score=score,
        lowest=score.mean - score.half_width if is_single else min(means),
        highest=score.mean + score.half_width if is_single else max(means),
    )


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    return Estimate(
        mean=fmean(estimate.mean for estimate in estimates),
        half_width=fmean(estimate.half_width for estimate in estimates),
        num_tasks=min(estimate.num_tasks for estimate in estimates),
    )
