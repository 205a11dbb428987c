"""The share of the learning rate in updates on segments."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.step_size import FACTOR, LARGEST_KL, SMALLEST_KL, SMALLEST_SHARE, next_rate_share
from agent.learners.rl2.training import EagerTraining
from tests.agent.learners.rl2.playing import learner_for
from tests.agent.learners.rl2.row_tasks import RowTasks
from tests.agent.learners.rl2.scripted_tasks import CONTINUOUS


def test_the_share_falls_after_an_update_that_changed_the_policy_too_much() -> None:
    assert next_rate_share(0.6, 1.1 * LARGEST_KL) == pytest.approx(0.6 / FACTOR)
    assert next_rate_share(0.6, math.inf) == pytest.approx(0.6 / FACTOR)
    assert next_rate_share(SMALLEST_SHARE, 1.0) == SMALLEST_SHARE


def test_the_share_grows_after_an_update_that_changed_the_policy_little() -> None:
    assert next_rate_share(0.5, 0.9 * SMALLEST_KL) == pytest.approx(0.5 * FACTOR)
    assert next_rate_share(0.99, 0.0) == 1.0


def test_the_share_stays_while_updates_change_the_policy_as_wanted() -> None:
    assert next_rate_share(0.3, 0.02) == 0.3
    assert next_rate_share(0.3, math.nan) == 0.3


def rates_of(limit: int, *, count: int, learning_rate: float = 0.05) -> tuple[list[float], RL2Learner]:
    """Return the learning rates of the first updates on trials of ``limit`` steps, and the learner."""
    learner = learner_for(CONTINUOUS, learning_rate=learning_rate, segment_steps=16)
    training = EagerTraining(learner, "scripted", RowTasks(CONTINUOUS, [limit], num_trials=8, limit=limit))
    rates: list[float] = []
    set_rate = learner.set_learning_rate

    def noting(rate: float) -> None:
        rates.append(rate)
        set_rate(rate)

    learner.set_learning_rate = noting
    for update in range(count):
        learner.update("scripted", training.play(8 * update))
    return rates, learner


def test_updates_on_segments_that_change_the_policy_too_much_are_followed_by_smaller_ones() -> None:
    rates, learner = rates_of(1000, count=5)
    full = [learner.config.learning_rate_at(update) for update in range(5)]
    assert rates[0] == full[0]
    assert rates[-1] < 1.01 * full[-1] / FACTOR


def test_updates_on_whole_trials_take_the_full_rate() -> None:
    rates, learner = rates_of(32, count=5)
    assert rates == [learner.config.learning_rate_at(update) for update in range(5)]


def test_a_restored_learner_goes_on_with_the_share() -> None:
    _, learner = rates_of(1000, count=3)
    meta = learner.to_meta()
    restored = RL2Learner.from_tensors(learner.config, learner.to_tensors(), meta, device="cpu")
    assert restored.to_meta() == meta
    assert share_of(meta) < 1.0


def test_a_checkpoint_without_a_share_goes_on_with_the_full_rate() -> None:
    _, learner = rates_of(1000, count=3)
    meta = learner.to_meta()
    for family in meta["families"]:
        del family["rate_share"]
    restored = RL2Learner.from_tensors(learner.config, learner.to_tensors(), meta, device="cpu")
    assert share_of(restored.to_meta()) == 1.0


def share_of(meta: dict[str, Any]) -> float:
    [family] = meta["families"]
    share: float = family["rate_share"]
    return share
