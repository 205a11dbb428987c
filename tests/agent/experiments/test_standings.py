"""Results of a comparison: the runs of a learner combined by hand, and the order of the learners."""

from __future__ import annotations

import pytest

from agent.experiments.scores import Measure
from agent.experiments.standings import standings
from tests.agent.experiments.outcomes import outcome, point


@pytest.mark.parametrize(
    ("measure", "order"), [(Measure.ACCURACY, ["b", "a", "failed"]), (Measure.SQUARED_ERROR, ["a", "b", "failed"])]
)
def test_the_best_learner_is_first_and_one_without_a_score_is_last(measure: Measure, order: list[str]) -> None:
    outcomes = [outcome("failed", error="no memory"), outcome("a", last=point(0.2)), outcome("b", last=point(0.7))]
    found = standings(outcomes, measure)
    assert [standing.learner for standing in found] == order
    assert (found[-1].errors, found[-1].last) == (("no memory",), None)


def test_two_runs_are_their_mean_between_the_lower_and_the_higher() -> None:
    runs = [outcome("a", last=point(mean, unadapted=mean / 2), seed=seed) for seed, mean in enumerate((0.25, 0.75))]
    (standing,) = standings(runs, Measure.ACCURACY)
    assert standing.last is not None
    assert (standing.last.score.mean, standing.last.lowest, standing.last.highest) == (0.5, 0.25, 0.75)
    assert standing.unadapted is not None
    assert standing.unadapted.mean == 0.25
    assert standing.ms_per_update == pytest.approx(1e3 * 4.0 / 20)
    assert standing.bytes_per_update == 2000


def test_the_range_of_a_single_run_is_its_interval() -> None:
    (standing,) = standings([outcome("a", last=point(1.0, half_width=0.25))], Measure.ACCURACY)
    assert standing.last is not None
    assert (standing.last.lowest, standing.last.highest) == (0.75, 1.25)


def test_a_curve_ends_where_the_first_run_ends() -> None:
    whole = outcome("a", point(0.1, updates=0), point(0.3, updates=5), last=point(0.5))
    stopped = outcome("a", point(0.3, updates=0), point(0.5, updates=5), seed=1)
    (standing,) = standings([whole, stopped], Measure.ACCURACY)
    assert [(moment.updates, moment.score.mean) for moment in standing.curve()] == [(0, 0.2), (5, 0.4)]
