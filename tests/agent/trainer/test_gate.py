"""The gate compares returns with their standard errors, in a unit that is the same for all candidates."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from agent.learners.evaluation.trials import HeldOutReturns, Scale
from agent.trainer.gate import Candidate, Comparison, Gate, KnownReturn, Part, Yardstick, compare, yardstick_of
from agent.trainer.score_scale import scale_of
from memory.records import Family, FamilyScore, FamilyState, FamilyTotals
from tests.memory.making import make_spec

FAMILY = Family(
    id=1,
    name="pendulum",
    state=FamilyState.ACTIVE,
    state_reason="",
    spec=make_spec("pendulum"),
    spaces={},
    random_return=-1000.0,
    reference_return=None,
    strikes=0,
    quarantined_until=None,
    totals=FamilyTotals(),
    created_at=0.0,
)
SCALED = replace(FAMILY, reference_return=-500.0)


def returns(*values: float) -> HeldOutReturns:
    trials = torch.tensor(values)
    return HeldOutReturns(trials=trials, episodes=trials[None])


def compared(family: Family, candidate: HeldOutReturns, published: HeldOutReturns | None) -> Comparison:
    known = None if published is None else KnownReturn.played(published)
    return compare(candidate, yardstick_of(family, published=known, first=candidate))


def candidate(*comparisons: Comparison) -> Candidate:
    return Candidate(parts=(Part(origin="test", tensors={}, comparisons=comparisons),))


@pytest.mark.parametrize(
    ("reference", "has_scale"), [(None, False), (-1000.0, False), (-1200.0, False), (-999.0, True)]
)
def test_a_scale_needs_a_reference_above_random_actions(reference: float | None, has_scale: bool) -> None:
    assert (scale_of(replace(FAMILY, reference_return=reference)) is not None) is has_scale


def test_with_a_scale_differences_are_those_of_scores() -> None:
    comparison = compared(SCALED, returns(-640.0, -660.0), returns(-700.0, -700.0))
    assert comparison.score == pytest.approx(0.7)
    assert comparison.gain == pytest.approx(0.1)
    assert comparison.value == comparison.score


def test_without_a_scale_the_unit_is_what_the_published_version_has_learned() -> None:
    # Published −800, 200 above random; the candidate gains 40 on each task: paired standard error 0.
    comparison = compared(FAMILY, returns(-860.0, -660.0), returns(-900.0, -700.0))
    assert comparison.yardstick.unit == pytest.approx(200.0)
    assert comparison.difference_error == pytest.approx(0.0, abs=1e-4)
    assert comparison.gain == pytest.approx(0.2)
    assert comparison.score is None


@pytest.mark.parametrize(
    ("candidate_returns", "falls"),
    [
        ((-905.0, -705.0), False),  # 5 below, and the tolerance is 0.05 × 200
        ((-915.0, -715.0), True),  # 15 below on both tasks
        ((-950.0, -680.0), False),  # 15 below on average, with a paired standard error of 35
    ],
)
def test_without_a_scale_a_fall_exceeds_the_tolerance_and_two_standard_errors(
    candidate_returns: tuple[float, ...], falls: bool
) -> None:
    comparison = compared(FAMILY, returns(*candidate_returns), returns(-900.0, -700.0))
    assert comparison.falls(0.05, None) is falls


def test_with_a_scale_a_fall_needs_no_more_than_the_tolerance() -> None:
    # 0.05 × 500 is 25: a fall of 30 counts, however the tasks differ.
    assert compared(SCALED, returns(-970.0, -690.0), returns(-900.0, -700.0)).falls(0.05, None)


def test_paired_errors_are_of_the_differences_on_the_same_tasks() -> None:
    comparison = compared(FAMILY, returns(-890.0, -660.0), returns(-900.0, -700.0))
    # Differences 10 and 40: standard deviation √450, divided by √2.
    assert comparison.difference_error == pytest.approx(15.0)
    assert comparison.gain == 0.0  # 25 on average is within 2 × 15


def test_a_stored_return_is_compared_by_the_errors_of_both() -> None:
    published = KnownReturn(mean=-800.0, standard_error=30.0)
    yardstick = yardstick_of(FAMILY, published=published, first=returns(0.0))
    comparison = compare(returns(-860.0, -780.0), yardstick)
    assert comparison.difference_error == pytest.approx(math.hypot(30.0, 40.0))


def test_where_nothing_is_learned_yet_the_unit_is_the_standard_error() -> None:
    assert compared(FAMILY, returns(-900.0), returns(-1040.0, -960.0)).yardstick.unit == pytest.approx(40.0)


def test_a_family_that_the_published_version_does_not_know_has_no_gain_and_does_not_fall() -> None:
    comparison = compared(FAMILY, returns(-2000.0, -1900.0), None)
    assert comparison.gain is None
    assert not comparison.falls(0.0, None)
    assert candidate(comparison).is_worth_a_version


def test_gain_and_value_average_over_families_in_their_own_units() -> None:
    scaled = compared(SCALED, returns(-650.0, -650.0), returns(-700.0, -700.0))  # 0.6 → 0.7
    unscaled = compared(FAMILY, returns(-740.0, -740.0), returns(-800.0, -800.0))  # 60 of 200
    both = candidate(scaled, unscaled)
    assert both.gain == pytest.approx((0.1 + 0.3) / 2)
    assert both.mean_value == pytest.approx((0.7 + 1.3) / 2)
    assert both.mean_score == pytest.approx(0.7)
    assert candidate(unscaled).mean_score is None


@pytest.mark.parametrize(
    ("score", "published", "best", "falls"),
    [
        (0.90, 0.94, 0.94, False),
        (0.88, 0.94, 0.94, True),
        (0.88, None, 0.90, False),
        (0.85, 0.86, 0.97, True),
        (0.88, 0.86, 0.97, False),
    ],
)
def test_small_falls_may_not_add_up(score: float, published: float | None, best: float, falls: bool) -> None:
    scale = Scale(random_return=0.0, reference_return=1.0)
    known = None if published is None else KnownReturn(mean=published)
    yardstick = Yardstick(family="bandits", scale=scale, random_return=0.0, unit=scale.span, published=known)
    comparison = compare(returns(score, score), yardstick)
    assert bool(Gate(tolerance=0.05, best={"bandits": KnownReturn(mean=best)}).fallen(candidate(comparison))) is falls


def test_without_a_scale_small_falls_may_not_add_up_either() -> None:
    comparison = compared(FAMILY, returns(-802.0, -802.0), returns(-800.0, -800.0))
    assert not comparison.falls(0.05, KnownReturn(mean=-790.0, standard_error=1.0))
    assert comparison.falls(0.05, KnownReturn(mean=-760.0, standard_error=1.0))
    assert not comparison.falls(0.05, KnownReturn(mean=-760.0, standard_error=30.0))


def test_a_record_keeps_returns_and_has_scores_only_on_a_scale() -> None:
    record = compared(FAMILY, returns(-890.0, -660.0), returns(-900.0, -700.0)).to_record()
    assert (record.score, record.standard_error, record.published_score) == (None, None, None)
    assert (record.mean_return, record.published_return) == (-775.0, -800.0)
    assert record.return_standard_error == pytest.approx(115.0)
    assert record.difference_standard_error == pytest.approx(15.0)
    scaled = compared(SCALED, returns(-890.0, -660.0), returns(-900.0, -700.0)).to_record()
    assert (scaled.score, scaled.published_score) == (pytest.approx(0.45), pytest.approx(0.4))
    assert scaled.standard_error == pytest.approx(0.23)


def test_a_score_stored_without_its_return_is_read_on_the_scale_there_is() -> None:
    old = FamilyScore(family="pendulum", score=0.6, standard_error=0.02, published_score=None, num_trials=64)
    known = KnownReturn.stored(old, scale_of(SCALED))
    assert known is not None
    assert (known.mean, known.standard_error) == (pytest.approx(-700.0), pytest.approx(10.0))
    assert KnownReturn.stored(old, None) is None
    new = replace(old, mean_return=-690.0, return_standard_error=9.0)
    assert KnownReturn.stored(new, scale_of(SCALED)) == KnownReturn(mean=-690.0, standard_error=9.0)
