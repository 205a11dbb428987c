"""Rounds of episodes and their advantages: what is played is what is recorded, and judged task by task."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agent.learners.policy_gradient.adaptation import Experience, log_ratio, surrogate_loss
from agent.learners.policy_gradient.advantages import discounted, linear_values, standardised_advantages
from agent.learners.policy_gradient.episodes import EpisodeBatch, Play
from agent.learners.policy_gradient.policy import PolicyConfig, TaskPolicy
from envs.family import Split
from tests.agent.learners.cases import generator
from tests.agent.learners.policy_gradient.policy_cases import NAVIGATION, SHORT, SMALL, navigation
from tests.agent.learners.rl2.scripted_tasks import ALL_SPACES, VECTOR, ScriptedTasks


def scripted_round(lengths: list[list[int]], num_episodes: int) -> tuple[TaskPolicy, EpisodeBatch]:
    policy = TaskPolicy(VECTOR, SMALL, generator=generator())
    play = Play(ScriptedTasks(VECTOR, lengths), first_task=0, split=Split.TRAINING, num_episodes=num_episodes)
    return policy, play.round(policy, policy.shared_parameters(), generator=generator(1))


def played(num_tasks: int = 3) -> tuple[TaskPolicy, EpisodeBatch]:
    policy = TaskPolicy(NAVIGATION, SMALL, generator=generator())
    play = Play(navigation(num_tasks), first_task=0, split=Split.TRAINING, num_episodes=8)
    return policy, play.round(policy, policy.shared_parameters(), generator=generator(1))


def batch(reward: list[float], is_end: list[bool], is_valid: list[bool] | None = None) -> EpisodeBatch:
    """One row of one task, observing a constant."""
    valid = torch.tensor(is_valid or [True] * len(reward)).view(1, 1, -1)
    step, steps = 0, []
    for end in is_end:
        steps.append(step)
        step = 0 if end else step + 1
    return EpisodeBatch(
        observation=torch.zeros(1, 1, len(reward), 1),
        action=torch.zeros(1, 1, len(reward), dtype=torch.int64),
        log_prob=torch.zeros(1, 1, len(reward)),
        reward=torch.tensor(reward).view(1, 1, -1),
        is_end=torch.tensor(is_end).view(1, 1, -1),
        is_valid=valid,
        episode_step=torch.tensor(steps).view(1, 1, -1),
    )


def test_episodes_one_after_another_in_a_row_are_counted_and_padded() -> None:
    _, episodes = scripted_round([[3, 2, 9], [1, -1, 9]], 2)
    assert episodes.is_end[:, 0].int().tolist() == [[0, 0, 1, 0, 1], [1, 1, 0, 0, 0]]
    assert episodes.is_valid[:, 0].int().tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert episodes.episode_step[0, 0].tolist() == [0, 1, 2, 0, 1]
    assert (episodes.reward[1, 0, 2:] == 0).all()
    torch.testing.assert_close(episodes.mean_return, episodes.reward.sum((1, 2)) / 2)


def test_a_round_goes_on_where_the_last_one_ended() -> None:
    policy = TaskPolicy(VECTOR, SMALL, generator=generator())
    play = Play(ScriptedTasks(VECTOR, [[2, 1], [1, 2]]), first_task=0, split=Split.TRAINING, num_episodes=1)
    rounds = [play.round(policy, policy.shared_parameters(), generator=generator(1)) for _ in range(2)]
    assert [r.is_end[:, 0].int().tolist() for r in rounds] == [[[0, 1], [1, 0]], [[1, 0], [0, 1]]]


@pytest.mark.parametrize("kind", list(ALL_SPACES))
def test_the_recorded_log_probabilities_are_those_of_the_policy_that_played(kind: str) -> None:
    spaces = ALL_SPACES[kind]
    policy = TaskPolicy(spaces, SMALL, generator=generator())
    play = Play(ScriptedTasks(spaces, [[3, 4], [2, 2]]), first_task=0, split=Split.TRAINING, num_episodes=2)
    episodes = play.round(policy, policy.shared_parameters(), generator=generator(1))
    ratios = log_ratio(policy, policy.shared_parameters(), Experience.of(episodes, SHORT))
    torch.testing.assert_close(ratios, torch.zeros_like(ratios), rtol=0, atol=1e-5)


def test_episodes_that_do_not_fill_the_rows_of_a_task_are_refused() -> None:
    with pytest.raises(ValueError, match="no whole number in each of its 8 rows"):
        Play(navigation(1), first_task=0, split=Split.TRAINING, num_episodes=12)


def test_returns_to_go_begin_anew_after_every_end() -> None:
    episodes = batch([1.0, 2.0, 4.0, 8.0], [False, True, False, True])
    torch.testing.assert_close(
        discounted(episodes.reward, episodes.is_end, decay=0.5).flatten(), torch.tensor([2.0, 2.0, 8.0, 8.0])
    )


def test_advantages_of_two_short_episodes_are_the_numbers_worked_by_hand() -> None:
    # Both episodes are of one step, so the critic's features are the same and its value is their mean, 3 (but for its
    # ridge): the advantages are ±1, which is what standardising leaves too.
    advantage = standardised_advantages(batch([2.0, 4.0], [True, True]), discount=0.9, gae_lambda=1.0)
    torch.testing.assert_close(advantage.flatten(), torch.tensor([-1.0, 1.0]), rtol=1e-4, atol=1e-4)


def test_with_lambda_1_an_advantage_is_the_return_less_the_value() -> None:
    _, episodes = played()
    targets = discounted(episodes.reward, episodes.is_end, decay=0.9)
    expected = (targets - linear_values(episodes, targets)) * episodes.is_valid
    centred = expected - expected.sum((1, 2), keepdim=True) / episodes.is_valid.sum((1, 2), keepdim=True)
    advantage = standardised_advantages(episodes, discount=0.9, gae_lambda=1.0)
    scale = (advantage * centred).sum((1, 2), keepdim=True) / centred.square().sum((1, 2), keepdim=True)
    torch.testing.assert_close(advantage, centred * scale * episodes.is_valid, rtol=1e-3, atol=1e-4)


def test_advantages_are_standardised_over_each_tasks_own_steps() -> None:
    _, episodes = scripted_round([[30, 20], [10, 40], [5, 5]], 2)
    advantage = standardised_advantages(episodes, discount=0.9, gae_lambda=0.9)
    for task in range(3):
        own = advantage[task][episodes.is_valid[task]]
        assert own.mean().item() == pytest.approx(0.0, abs=1e-5)
        assert own.square().mean().item() == pytest.approx(1.0, abs=1e-4)
    assert (advantage[~episodes.is_valid] == 0).all()


def test_the_critic_finds_returns_that_are_linear_in_its_features() -> None:
    _, episodes = played()
    time = episodes.episode_step * 0.01
    targets = 2.0 * episodes.observation[..., 0] - episodes.observation[..., 1].square() + 3.0 * time**3 - 1.0
    torch.testing.assert_close(linear_values(episodes, targets), targets, rtol=0, atol=5e-3)


def test_padding_moves_neither_critic_nor_advantages_nor_surrogate() -> None:
    policy, episodes = scripted_round([[3, 2], [1, 1]], 2)
    noise = torch.randn(episodes.observation.shape, generator=generator(3))
    muddled = replace(
        episodes,
        observation=torch.where(episodes.is_valid.unsqueeze(3), episodes.observation, noise),
        log_prob=torch.where(episodes.is_valid, episodes.log_prob, torch.tensor(-50.0)),
    )
    for one, other in zip(
        *(
            (
                standardised_advantages(e, discount=0.9, gae_lambda=0.9),
                surrogate_loss(policy, policy.shared_parameters(), Experience.of(e, SHORT)),
            )
            for e in (episodes, muddled)
        ),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_first_actions_depend_little_on_what_is_observed_where_the_last_layer_begins_small() -> None:
    observation = torch.randn(1, 200, 2, generator=generator(5))
    spread = []
    for scale in (1.0, 0.01):
        policy = TaskPolicy(NAVIGATION, PolicyConfig(initial_output_scale=scale), generator=generator())
        spread.append(policy.distribution(policy.shared_parameters(), observation).mode().std().item())
    assert spread[1] == pytest.approx(0.01 * spread[0], rel=1e-3)
