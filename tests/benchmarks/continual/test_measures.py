"""The measures of continual learning, computed by hand."""

from __future__ import annotations

import pytest

from benchmarks.continual.measures import (
    CurvePoint,
    FamilyScores,
    area,
    area_by_steps,
    figures,
    plasticity,
    ratio,
    steps_to,
)


def curve(*scores: float, seconds: float = 10.0, steps: int = 1000) -> list[CurvePoint]:
    """Return a curve of equally distant points."""
    last = len(scores) - 1
    return [
        CurvePoint(elapsed_s=seconds * index / last, env_steps=steps * index // last, score=score)
        for index, score in enumerate(scores)
    ]


def test_the_area_is_the_mean_score_over_the_time_of_the_window() -> None:
    assert area(curve(0.0, 1.0)) == pytest.approx(0.5)
    assert area(curve(0.0, 1.0, 1.0, seconds=60.0)) == pytest.approx(0.75)


def test_the_area_weighs_points_by_the_time_between_them() -> None:
    points = [CurvePoint(elapsed_s=t, env_steps=0, score=p) for t, p in ((0.0, 0.0), (8.0, 0.0), (10.0, 1.0))]
    assert area(points) == pytest.approx(0.1)


def test_the_area_by_steps_ends_within_a_curve_at_an_interpolated_score() -> None:
    points = curve(0.0, 1.0, 1.0, steps=200)
    assert area_by_steps(points, 200) == pytest.approx(0.75)
    assert area_by_steps(points, 50) == pytest.approx(0.25)


def test_forward_transfer_by_steps_does_not_depend_on_the_time_that_steps_took() -> None:
    alone = curve(0.0, 1.0, 1.0, seconds=10.0, steps=200)
    slow = curve(0.0, 1.0, seconds=10.0, steps=100)
    scores = FamilyScores(curve=slow, final=1.0, alone=alone)
    assert scores.forward_transfer == pytest.approx((0.5 - 0.75) / 0.25)
    assert scores.forward_transfer_by_steps == pytest.approx(0.0)


def test_forgetting_is_the_end_of_the_own_window_minus_the_end_of_the_sequence() -> None:
    assert FamilyScores(curve=curve(0.0, 0.5, 0.9), final=0.2).forgetting == pytest.approx(0.7)


def test_forward_transfer_is_the_share_of_the_room_that_learning_alone_leaves() -> None:
    # AUC .75 in the sequence and .5 alone: (.75 - .5) / (1 - .5).
    scores = FamilyScores(curve=curve(0.5, 1.0), final=1.0, alone=curve(0.0, 1.0))
    assert scores.forward_transfer == pytest.approx(0.5)
    slower = FamilyScores(curve=curve(0.0, 0.8), final=0.8, alone=curve(0.0, 1.0))
    assert slower.forward_transfer == pytest.approx(-0.2)


def test_the_figures_of_two_families_are_those_computed_by_hand() -> None:
    rows = [
        FamilyScores(curve=curve(0.0, 0.8), final=0.2, alone=curve(0.0, 0.8), is_first=True),
        FamilyScores(curve=curve(0.5, 1.0), final=1.0, alone=curve(0.0, 1.0), is_last=True),
    ]
    found = figures(rows)
    assert found["P"].mean == pytest.approx(0.6)
    assert found["F"].mean == pytest.approx(0.6), "the last family is left out"
    assert found["FT"].mean == pytest.approx(0.5), "the first family is left out"
    assert found["P / single"].mean == pytest.approx(1.2 / 1.8)


def test_without_families_learned_alone_there_is_no_forward_transfer() -> None:
    assert set(figures([FamilyScores(curve=curve(0.0, 1.0), final=1.0)])) == {"P", "F"}


def test_the_interval_covers_the_mean_and_is_a_point_for_equal_values() -> None:
    found = figures([FamilyScores(curve=curve(0.0, 1.0), final=final) for final in (0.0, 0.25, 0.5, 1.0)])["P"]
    assert 0.0 < found.low < found.mean < found.high < 1.0
    same = ratio([0.5, 0.5], [1.0, 1.0])
    assert (same.low, same.mean, same.high) == pytest.approx((0.5, 0.5, 0.5))


def test_steps_to_a_score_are_interpolated_where_the_curve_first_reaches_it() -> None:
    points = curve(0.0, 0.5, 0.25, 1.0, steps=300)
    assert steps_to(points, 0.25) == pytest.approx(50.0)
    assert steps_to(points, 0.0) == pytest.approx(0.0)
    assert steps_to(points, 1.1) is None


def test_plasticity_counts_the_whole_window_where_the_score_was_not_reached() -> None:
    alone = curve(0.0, 1.0, steps=1000)
    rows = [
        FamilyScores(curve=curve(0.0, 0.5, steps=800), final=0.5, alone=alone),
        FamilyScores(curve=curve(0.9, 1.0, steps=1000), final=1.0, alone=alone),
    ]
    found = plasticity(rows)
    assert (found.steps, found.steps_alone) == pytest.approx((400.0, 900.0))
    assert (found.num_reached, found.num_families) == (1, 2)
    assert found.ratio.mean == pytest.approx(400 / 900)
