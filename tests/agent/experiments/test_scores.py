"""Scores of held-out tasks: estimates by hand, and their form as text."""

from __future__ import annotations

import math

import pytest
import torch

from agent.experiments.scores import Estimate, Measure


def test_an_estimate_is_the_mean_and_its_95_percent_interval() -> None:
    estimate = Estimate.of(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert (estimate.mean, estimate.num_tasks) == (3.0, 4)
    assert estimate.half_width == pytest.approx(1.96 * math.sqrt((4 + 1 + 0 + 9) / 3) / 2)


def test_one_task_has_no_interval() -> None:
    assert Estimate.of(torch.tensor([2.0])) == Estimate(mean=2.0, half_width=0.0, num_tasks=1)


@pytest.mark.parametrize(
    ("mean", "half_width", "measure", "text"),
    [
        (0.91234, 0.0123, Measure.ACCURACY, "91.2 ± 1.2"),
        (0.91234, 0.123, Measure.ACCURACY, "91 ± 12"),
        (0.012345, 0.00034, Measure.SQUARED_ERROR, "0.01235 ± 0.00034"),
        (-153.2, 12.0, Measure.EPISODE_RETURN, "-153 ± 12"),
        (5.0, 0.0, Measure.EPISODE_RETURN, "5.00 ± 0.00"),
    ],
)
def test_a_score_is_rounded_to_two_digits_of_its_interval(
    mean: float, half_width: float, measure: Measure, text: str
) -> None:
    assert Estimate(mean=mean, half_width=half_width, num_tasks=10).text(measure) == text
