"""The tensor-native families follow their own rules."""

from __future__ import annotations

import pytest
import torch

from envs.family import FamilySource, FamilySpec, Split
from envs.task_batch import TaskBatch, Transition
from envs.tensor import counter_random
from envs.tensor.bandits import BernoulliBandits
from envs.tensor.tabular_mdps import TabularMdps


def bandits(num_trials: int, *, pulls: int = 10, num_arms: int = 5) -> BernoulliBandits:
    spec = FamilySpec(
        name="bandits",
        source=FamilySource.TENSOR,
        entry="bernoulli_bandits",
        kwargs={"num_arms": num_arms},
        episodes_per_trial=pulls,
    )
    return BernoulliBandits(spec, num_trials=num_trials, device="cpu")


def mdps(num_trials: int, *, episodes: int = 3) -> TabularMdps:
    spec = FamilySpec(name="mdps", source=FamilySource.TENSOR, entry="tabular_mdps", episodes_per_trial=episodes)
    return TabularMdps(spec, num_trials=num_trials, device="cpu")


def play(tasks: TaskBatch, steps: int, *, num_actions: int = 5, first_task: int = 0) -> list[Transition]:
    generator = torch.Generator().manual_seed(1)
    tasks.begin(first_task, split=Split.TRAINING)
    active = torch.ones(tasks.num_trials, dtype=torch.bool)
    return [
        tasks.step(torch.randint(num_actions, (tasks.num_trials,), generator=generator), active) for _ in range(steps)
    ]


def test_uniform_numbers_do_not_depend_on_where_the_block_began() -> None:
    seeds = counter_random.task_seeds(7, 0, 3, torch.device("cpu"))
    whole = counter_random.uniform(seeds, 0, 40)
    torch.testing.assert_close(counter_random.uniform(seeds, 13, 9), whole[:, 13:22], rtol=0, atol=0)


def test_normal_and_exponential_numbers_have_their_moments() -> None:
    seeds = counter_random.task_seeds(7, 0, 1000, torch.device("cpu"))
    normal, exponential = counter_random.normal(seeds, 0, 1000), counter_random.exponential(seeds, 0, 1000)
    assert normal.mean().item() == pytest.approx(0.0, abs=0.005)
    assert normal.var().item() == pytest.approx(1.0, abs=0.01)
    assert normal.pow(4).mean().item() == pytest.approx(3.0, abs=0.06)
    assert exponential.mean().item() == pytest.approx(1.0, abs=0.005)
    assert exponential.var().item() == pytest.approx(1.0, abs=0.015)


def test_arm_probabilities_are_uniform_and_differ_between_splits() -> None:
    tasks = bandits(5_000)
    tasks.begin(0, split=Split.TRAINING)
    arms = tasks.task_parameters().clone()
    assert arms.mean().item() == pytest.approx(0.5, abs=0.008)
    assert arms.var().item() == pytest.approx(1 / 12, abs=0.003)
    tasks.begin(0, split=Split.HELD_OUT)
    assert torch.corrcoef(torch.stack([arms.flatten(), tasks.task_parameters().flatten()]))[0, 1].abs() < 0.03


def test_an_arm_pays_as_often_as_its_probability_says() -> None:
    tasks = bandits(500, pulls=400)
    tasks.begin(3, split=Split.TRAINING)
    arm = torch.full((500,), 2)
    active = torch.ones(500, dtype=torch.bool)
    paid = torch.stack([tasks.step(arm, active).reward for _ in range(400)]).mean(0)
    expected = tasks.task_parameters()[:, 2]
    spread = (expected * (1 - expected) / 400).sqrt().clamp(min=0.01)
    assert ((paid - expected) / spread).abs().max() < 5
    assert (paid - expected).mean().abs() < 0.005


def test_every_pull_of_a_bandit_terminates_its_episode() -> None:
    tasks = bandits(4)
    tasks.begin(0, split=Split.TRAINING)
    active = torch.tensor([True, True, False, True])
    transition = tasks.step(torch.zeros(4, dtype=torch.int64), active)
    assert transition.terminated.tolist() == active.tolist()
    assert not transition.truncated.any()
    assert transition.reward[2] == 0


def test_pulls_go_on_past_the_block_of_outcomes_drawn_ahead() -> None:
    transitions = play(bandits(300, pulls=10), 25)
    assert torch.stack([t.reward for t in transitions[20:]]).mean().item() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("make", [bandits, mdps])
def test_the_same_arguments_replay_the_same_tasks_and_noise(make: type) -> None:
    first, second = play(make(16), 25), play(make(16), 25)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.observation, other.observation)
        assert torch.equal(one.reward, other.reward)


def test_a_task_is_the_same_in_a_batch_of_another_size() -> None:
    large, small = mdps(8), mdps(2)
    large.begin(0, split=Split.TRAINING)
    small.begin(5, split=Split.TRAINING)
    assert torch.equal(large.task_parameters()[5:7], small.task_parameters())
    actions, on = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2]), torch.ones(8, dtype=torch.bool)
    for _ in range(25):
        one, other = large.step(actions, on), small.step(actions[5:7], on[:2])
        assert torch.equal(one.observation[5:7], other.observation)
        assert torch.equal(one.reward[5:7], other.reward)


def test_reward_means_and_transitions_follow_the_paper() -> None:
    tasks = mdps(1500)
    tasks.begin(0, split=Split.TRAINING)
    means, transitions = tasks.reward_means(), tasks.transitions()
    assert means.shape == (1500, 10, 5)
    assert means.mean().item() == pytest.approx(1.0, abs=0.016)
    assert means.var().item() == pytest.approx(1.0, abs=0.02)
    torch.testing.assert_close(transitions.sum(-1), torch.ones(1500, 10, 5))
    # A flat Dirichlet over S states: mean 1/S, variance (S - 1) / (S² (S + 1)).
    assert transitions.mean().item() == pytest.approx(0.1, abs=1e-4)
    assert transitions.var().item() == pytest.approx(9 / (100 * 11), rel=0.02)


def test_what_states_pay_says_nothing_of_where_they_lead() -> None:
    num_tasks = 8192
    tasks = mdps(num_trials=num_tasks)
    tasks.begin(0, split=Split.TRAINING)
    # A number of one stream drawn twice would show in the square: Box and Muller's radius is an exponential number.
    paid = (tasks.reward_means() - 1.0).square().flatten(1)
    led = tasks.transitions().flatten(1)
    paid, led = ((values - values.mean(0)) / values.std(0) for values in (paid, led))
    assert float((paid.t() @ led / num_tasks).abs().max()) < 6.0 / num_tasks**0.5


def test_moves_and_rewards_follow_the_tasks_own_tables() -> None:
    tasks = mdps(5_000)
    tasks.begin(0, split=Split.TRAINING)
    action = torch.full((5_000,), 3)
    transition = tasks.step(action, torch.ones(5_000, dtype=torch.bool))
    residual = transition.reward - tasks.reward_means()[:, 0, 3]
    assert residual.mean().item() == pytest.approx(0.0, abs=0.06)
    assert residual.var().item() == pytest.approx(1.0, abs=0.09)
    state = transition.observation[:, 0].long()
    expected = tasks.transitions()[:, 0, 3].mean(0)
    torch.testing.assert_close(torch.bincount(state, minlength=10) / 5_000, expected, rtol=0, atol=0.022)
    likelihood = tasks.transitions()[torch.arange(5_000), 0, 3, state].mean()
    second_moment = tasks.transitions()[:, 0, 3].pow(2).sum(-1).mean()
    assert likelihood.item() == pytest.approx(second_moment.item(), abs=0.01)


def test_an_mdp_episode_terminates_at_the_horizon_and_begins_again_in_state_0() -> None:
    transitions = play(mdps(64), 21)
    assert [bool(t.terminated.all()) for t in transitions] == [i % 10 == 9 for i in range(21)]
    assert not any(t.terminated.any() for i, t in enumerate(transitions) if i % 10 != 9)
    assert (transitions[9].observation == 0).all()
    assert (transitions[9].final_observation != 0).any()
    assert torch.equal(transitions[8].observation, transitions[8].final_observation)


def test_an_inactive_row_repeats_its_last_observation_and_earns_nothing() -> None:
    tasks = mdps(8)
    tasks.begin(0, split=Split.TRAINING)
    active = torch.ones(8, dtype=torch.bool)
    last = tasks.step(torch.zeros(8, dtype=torch.int64), active).observation
    active[1] = False
    for _ in range(12):
        transition = tasks.step(torch.zeros(8, dtype=torch.int64), active)
        assert transition.observation[1] == last[1]
        assert transition.reward[1] == 0
        assert not transition.terminated[1]


def test_random_play_returns_what_the_paper_measured() -> None:
    returns = torch.stack([t.reward for t in play(mdps(2000, episodes=10), 100)]).sum(0)
    assert returns.mean().item() == pytest.approx(100.0, abs=2.0)
    pulls = torch.stack([t.reward for t in play(bandits(4000), 10)]).sum(0)
    assert pulls.mean().item() == pytest.approx(5.0, abs=0.1)
