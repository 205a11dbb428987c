"""The continual-learning measures by hand: what was reached, what is left, and in which unit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent.reports.continual import (
    Measures,
    Retention,
    ScoreUnit,
    average_performance,
    best_mean,
    measure,
    measure_points,
    retention,
)
from envs.family import FamilySource, FamilySpec
from memory.records import CurveMetric, CurvePoint, Family, FamilyState, FamilyTotals, StoredCurvePoint

RANDOM, REFERENCE = 100.0, 200.0


def family(
    state: FamilyState = FamilyState.ACTIVE, *, reference: float | None = REFERENCE, updates: int = 100, name: str = "f"
) -> Family:
    return Family(
        id=1,
        name=name,
        state=state,
        state_reason="",
        spec=FamilySpec(name=name, source=FamilySource.GYMNASIUM, entry="CartPole-v1"),
        spaces={},
        random_return=RANDOM,
        reference_return=reference,
        strikes=0,
        quarantined_until=None,
        totals=FamilyTotals(meta_updates=updates),
        created_at=0.0,
    )


def curve(
    *points: tuple[float, int, int | None], metric: CurveMetric = CurveMetric.EVAL_RETURN
) -> list[StoredCurvePoint]:
    """Return a curve of (return, own meta-updates, learner steps of the store)."""
    return [
        StoredCurvePoint(
            family="f",
            point=CurvePoint(metric=metric, value=value),
            env_steps=0,
            meta_updates=updates,
            at=float(index),
            learner_steps=steps,
        )
        for index, (value, updates, steps) in enumerate(points)
    ]


def in_practice(*values: float) -> list[StoredCurvePoint]:
    """Return the curve of a family that is practised once between two evaluations, and last at update and step 100."""
    first = 101 - len(values)
    return curve(*((value, first + index, first + index) for index, value in enumerate(values)))


def measured(of: Family, evaluations: list[StoredCurvePoint], *, last_step: int | None) -> Measures | None:
    return measure(of, retention(of, evaluations, last_step=last_step))


LEARNED: Sequence[float] = (150.0, 180.0, 198.0, 199.0, 200.0, 201.0, 202.0)


def test_the_best_mean_is_that_of_five_values_in_a_row() -> None:
    assert best_mean([0, 10, 10, 10, 10, 10, 0]) == 10
    assert best_mean([0, 100, 0, 0, 0, 0]) == 20
    assert best_mean([3, 5]) == 4


def test_a_family_in_practice_keeps_what_its_last_five_evaluations_show() -> None:
    found = retention(family(), in_practice(*LEARNED, 100.0), last_step=100)
    assert found == Retention(reached=200.0, now=(199 + 200 + 201 + 202 + 100) / 5)


def test_a_family_at_its_best_has_forgotten_nothing() -> None:
    found = measured(family(), in_practice(*LEARNED), last_step=100)
    assert found == Measures(unit=ScoreUnit.REFERENCE, reached=1.0, performance=1.0)
    assert found.forgetting == 0.0


def test_after_the_last_practice_only_later_evaluations_count_as_now() -> None:
    points = [*in_practice(*LEARNED), *curve((140.0, 100, 130), (130.0, 100, 160))]
    found = measured(family(FamilyState.PAUSED), points, last_step=100)
    assert found is not None
    assert found.performance == pytest.approx(0.35)
    assert found.forgetting == pytest.approx(1.02 - 0.35)


def test_of_many_evaluations_after_the_last_practice_the_last_five_count() -> None:
    later = curve(*((100.0 + index, 100, 130 + index) for index in range(8)))
    found = retention(family(FamilyState.PAUSED), [*in_practice(*LEARNED), *later], last_step=100)
    assert found is not None
    assert found.now == pytest.approx(105.0)


def test_a_high_mean_after_the_last_practice_is_not_what_was_reached() -> None:
    later = curve(*((250.0, 100, 130 + index) for index in range(6)))
    found = measured(family(FamilyState.PAUSED), [*in_practice(*[200.0] * 6), *later], last_step=100)
    assert found is not None
    assert found.performance == 1.5
    # The first evaluation after the end of practice is the nearest to that end, so it counts as reached.
    assert found.forgetting == 0.0


def test_a_short_practice_that_rose_to_the_end_counts_by_its_end() -> None:
    points = [*in_practice(110.0, 150.0, 199.0), *curve((100.0, 100, 110), (100.0, 100, 140))]
    found = retention(family(FamilyState.PAUSED), points, last_step=100)
    assert found == Retention(reached=199.0, now=100.0)


def test_a_gain_after_the_last_practice_is_a_negative_forgetting() -> None:
    points = [*in_practice(150.0, 150.0), *curve((150.0, 100, 101), (180.0, 100, 130))]
    found = measured(family(FamilyState.PAUSED), points, last_step=100)
    assert found is not None
    assert found.forgetting == pytest.approx(0.5 - 0.65)


def test_without_numbers_of_learner_steps_the_first_evaluation_at_the_last_totals_ends_the_practice() -> None:
    points = curve((150.0, 50, None), (200.0, 100, None), (120.0, 100, None))
    for last_step in (None, 100):
        found = retention(family(FamilyState.PAUSED), points, last_step=last_step)
        assert found == Retention(reached=200.0, now=120.0)


def test_evaluations_before_the_first_practice_do_not_count() -> None:
    assert retention(family(), curve((190.0, 0, 5)), last_step=None) is None
    found = retention(family(), curve((190.0, 0, 5), (120.0, 100, 9)), last_step=9)
    assert found == Retention(reached=120.0, now=120.0)


def test_evaluations_that_are_not_finite_do_not_count() -> None:
    found = retention(family(), in_practice(150.0, float("nan"), float("-inf")), last_step=100)
    assert found == Retention(reached=150.0, now=150.0)


def test_without_a_reference_the_unit_is_what_was_reached() -> None:
    unscaled = family(FamilyState.PAUSED, reference=None)
    points = [*in_practice(*[140.0] * 5), *curve((140.0, 100, 101), (110.0, 100, 150))]
    found = measured(unscaled, points, last_step=100)
    assert found is not None
    assert (found.unit, found.reached) == (ScoreUnit.REACHED, 1.0)
    assert found.forgetting == pytest.approx(1.0 - 25 / 40)


def test_without_a_reference_a_family_below_random_counts_from_there() -> None:
    found = measured(family(reference=None), in_practice(*[90.0] * 5, *[80.0] * 5), last_step=100)
    assert found is not None
    assert (found.reached, found.performance, found.forgetting) == (-1.0, -2.0, 1.0)


def test_without_a_reference_a_family_that_reached_the_return_of_random_actions_has_no_unit() -> None:
    assert measured(family(reference=None), in_practice(RANDOM), last_step=100) is None


def test_the_average_performance_is_over_the_families_that_have_a_reference() -> None:
    families = [family(name="a"), family(name="b"), family(name="c", reference=None), family(name="d")]
    performance = {"a": 0.5, "b": 0.7, "c": 1.0, "d": float("nan")}
    assert average_performance(families, performance) == pytest.approx(0.6)
    assert average_performance([], performance) is None


def test_measures_become_points_of_two_curves() -> None:
    measures = Measures(unit=ScoreUnit.REFERENCE, reached=0.9, performance=0.5)
    assert [(point.metric, point.value) for point in measure_points(measures)] == [
        (CurveMetric.PERFORMANCE, 0.5),
        (CurveMetric.FORGETTING, 0.4),
    ]
    assert measure_points(None) == ()
