"""The size of an environment's rewards does not change what is learned."""

from __future__ import annotations

import pytest
import torch

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.normalisation import MIN_SPREAD, SMALL_REWARDS, Normaliser, PopArtCritic
from agent.learners.rl2.training import EagerTraining
from agent.learners.rl2.trials import finished_returns, num_tasks
from tests.agent.learners.rl2.playing import learner_for
from tests.agent.learners.rl2.row_tasks import RowTasks
from tests.agent.learners.rl2.scripted_tasks import VECTOR

UPDATES = 12


def critic() -> PopArtCritic:
    return PopArtCritic(4, 4, rate=0.05, generator=torch.Generator().manual_seed(0))


def learned(scale: float, *, lengths: tuple[int, ...] = (12,), limit: int | None = 20) -> tuple[float, RL2Learner]:
    """Return the mean return, in units of the scale, of the last updates of a learner that is paid for its action."""
    learner = learner_for(VECTOR, learning_rate=1e-2, minibatch_steps=96, min_minibatch_trials=2, segment_steps=12)
    training = EagerTraining(
        learner, "scripted", RowTasks(VECTOR, lengths, num_trials=32, limit=limit, reward_scale=scale)
    )
    first_task, returns = 0, []
    for _ in range(UPDATES):
        batch = training.play(first_task)
        first_task += num_tasks(batch)
        returns.append(float(finished_returns(batch).mean()) / scale)
        learner.update("scripted", batch)
    assert learner.is_finite()
    return sum(returns[-3:]) / 3, learner


@pytest.mark.parametrize("limit", [20, 100_000], ids=["whole trials", "segments"])
def test_small_and_large_rewards_are_learned_as_rewards_of_usual_size_are(limit: int) -> None:
    usual, _ = learned(1.0, limit=limit)
    assert usual > 9.0  # 6 for random actions, 12 for the best
    for scale in (1e-6, 1e6):
        found, _ = learned(scale, limit=limit)
        assert found == pytest.approx(usual, abs=1.5), scale


def test_a_critic_measures_unusual_rewards_in_a_power_of_two() -> None:
    rewards = torch.tensor([0.0, 1.0, -0.5])
    for exponent in (-20, 20):
        small = critic()
        small.choose_unit(rewards * 2.0**exponent)
        assert torch.equal(small.in_unit(rewards * 2.0**exponent), rewards)
        assert small.reward_unit == 2.0**exponent
    for usual in (1e-3, 1.0, 1e3):
        kept = critic()
        kept.choose_unit(rewards * usual)
        assert torch.equal(kept.in_unit(rewards * usual), rewards * usual)


def test_a_critic_keeps_its_unit() -> None:
    kept = critic()
    kept.choose_unit(torch.zeros(3))
    assert kept.reward_unit == 1.0
    first = torch.tensor([0.0, 2.0**-20])
    kept.choose_unit(first)
    kept.follow_rewards(kept.in_unit(first), 0.9)
    kept.choose_unit(torch.tensor([1.0]))
    assert kept.in_unit(torch.tensor([1.0])).item() == 2.0**20


def test_the_unit_of_rewards_survives_a_checkpoint() -> None:
    _, learner = learned(1e-6)
    restored = RL2Learner.from_tensors(learner.config, learner.to_tensors(), learner.to_meta(), device="cpu")
    unit = restored.critics["scripted"].reward_unit
    assert unit == learner.critics["scripted"].reward_unit == 2.0**-19
    old = {name: tensor for name, tensor in learner.to_tensors().items() if not name.endswith("reward_unit")}
    older = RL2Learner.from_tensors(learner.config, old, learner.to_meta(), device="cpu")
    assert older.critics["scripted"].reward_unit == 1.0


@pytest.mark.parametrize("spread", [0.0, SMALL_REWARDS * 2, 1e-4])
def test_rare_rewards_keep_the_least_spread(spread: float) -> None:
    scale = Normaliser(1, small_below=SMALL_REWARDS)
    scale.update(torch.tensor([[spread], [-spread]]), is_centred=False)
    assert scale.spread.item() == pytest.approx(MIN_SPREAD)


def test_small_rewards_have_their_own_spread_and_small_observations_do_not() -> None:
    values = torch.tensor([[1e-6], [-1e-6]])
    rewards, observations = Normaliser(1, small_below=SMALL_REWARDS), Normaliser(1)
    rewards.update(values, is_centred=False)
    observations.update(values)
    assert rewards.spread.item() == pytest.approx(1e-6)
    assert observations.spread.item() == pytest.approx(MIN_SPREAD)
