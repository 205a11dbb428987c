"""A policy acts in the structure of the environment's own action space, and takes allowed actions alone."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch

from agent.learners.policy_gradient.maml import MAMLPolicy, MAMLPolicyConfig
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.policy import RL2Policy
from agent.policies.acting import ActingPolicy, LoadedPolicy
from agent.policies.gradient_acting import GradientPolicy
from agent.policies.recurrent_acting import RecurrentPolicy
from agent.policies.version_header import KnownFamily
from envs.gymnasium.host.actions import describe_action
from envs.gymnasium.host.spaces import describe_observation
from envs.spaces import SpacePair
from tests.envs.environments.environments_of_every_kind import ACTIONS, EveryKind, Masked

MASKED = [("discrete", "info"), ("multi_discrete", "info"), ("dict", "info"), ("dict", "observation")]


def spaces_of(env: gym.Env[Any, Any]) -> SpacePair:
    return SpacePair.from_json(
        {"observation": describe_observation(env.observation_space), "action": describe_action(env.action_space)}
    )


def recurrent(spaces: SpacePair) -> ActingPolicy:
    generator = torch.Generator().manual_seed(0)
    policy = RL2Policy(RL2Config(hidden_size=16, input_size=12))
    policy.add_pair(spaces, generator=generator)
    return RecurrentPolicy(policy)


def adapting(spaces: SpacePair) -> ActingPolicy:
    return GradientPolicy(MAMLPolicy(spaces, MAMLPolicyConfig(), generator=torch.Generator().manual_seed(0)))


def play(policy: ActingPolicy, env: gym.Env[Any, Any], *, is_greedy: bool = False, num_episodes: int = 12) -> None:
    """Play episodes in an environment that raises if an action is outside its space or not allowed."""
    spaces = spaces_of(env)
    loaded = LoadedPolicy(policy, {"known": KnownFamily(spaces=spaces, episodes_per_trial=num_episodes)})
    trial = loaded.begin_trial(env, is_greedy=is_greedy)
    for episode in range(trial.episodes_per_trial):
        observation, info = env.reset(seed=None if episode else 0)
        is_over = False
        while not is_over:
            observation, reward, terminated, truncated, info = env.step(trial.act(observation, info))
            trial.observe(observation, float(reward), terminated=terminated, truncated=truncated)
            is_over = terminated or truncated


@pytest.mark.parametrize("is_counted", [False, True])
def test_a_policy_acts_in_spaces_whose_different_observations_were_counted_or_not(*, is_counted: bool) -> None:
    env = gym.make("Blackjack-v1")
    spaces = spaces_of(env)
    assert spaces.observation.num_distinct == 704
    known = spaces if is_counted else spaces.without_num_distinct()
    loaded = LoadedPolicy(recurrent(known), {"known": KnownFamily(spaces=known, episodes_per_trial=2)})
    observation, _ = env.reset(seed=0)
    assert env.action_space.contains(loaded.begin_trial(env).act(observation))


@pytest.mark.parametrize("kind", ACTIONS)
def test_every_action_is_in_the_space_of_the_environment(kind: str) -> None:
    env = EveryKind(action=kind)
    play(recurrent(spaces_of(env)), env)


@pytest.mark.parametrize("is_greedy", [False, True], ids=["drawn", "greedy"])
@pytest.mark.parametrize(("kind", "told"), MASKED)
def test_every_action_is_allowed(kind: str, told: str, is_greedy: bool) -> None:
    env = Masked(kind, told)
    play(recurrent(spaces_of(env)), env, is_greedy=is_greedy)


@pytest.mark.parametrize(("kind", "told"), MASKED)
def test_a_policy_that_adapts_by_gradient_takes_allowed_actions(kind: str, told: str) -> None:
    env = Masked(kind, told)
    play(adapting(spaces_of(env)), env, num_episodes=45)
