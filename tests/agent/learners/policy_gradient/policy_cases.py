"""Small families, small policies and hand-made experience for the tests of policy-gradient learners."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from agent.learners.policy_gradient.adaptation import Experience, RoundConfig
from agent.learners.policy_gradient.policy import PolicyConfig, TaskPolicy
from envs.declaration import family_from_declaration
from envs.registry import open_tasks
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch
from envs.tensor.bandits import bandit_spaces
from envs.tensor.navigation import NAVIGATION_SPACES
from tests.agent.learners.cases import generator

SHORT = RoundConfig(num_episodes=8)
SMALL = PolicyConfig(hidden_sizes=(8, 8))
TINY = PolicyConfig(hidden_sizes=(3,))
TWO_ARMS = bandit_spaces(2)
NAVIGATION = NAVIGATION_SPACES


def navigation(num_tasks: int, *, rows_per_task: int = 8, limit: int = 12) -> TaskBatch:
    spec = family_from_declaration("navigation", max_episode_steps=limit)
    return open_tasks(spec, None, num_trials=num_tasks * rows_per_task, device="cpu", rows_per_task=rows_per_task)


def two_armed_policy(*, preference: float) -> TaskPolicy:
    """π(arm 0) = σ(``preference``), from weights and biases that begin at 0 but for one."""
    policy = TaskPolicy(TWO_ARMS, PolicyConfig(hidden_sizes=()), generator=generator())
    parameters = dict(policy.named_parameters())
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.zero_()
        parameters["body.bias_0"][0] = preference
    return policy


def pulls(arms: list[int], advantages: list[float], *, preference: float) -> Experience:
    """Pulls of one task by the policy whose preference this is."""
    chances = {0: 1 / (1 + math.exp(-preference)), 1: 1 / (1 + math.exp(preference))}
    return Experience(
        observation=torch.ones(1, len(arms), 1),
        action=torch.tensor([arms]),
        log_prob=torch.tensor([[math.log(chances[arm]) for arm in arms]]),
        advantage=torch.tensor([advantages]),
        weight=torch.full((1, len(arms)), 1 / len(arms)),
    )


def random_experience(
    policy: TaskPolicy, spaces: SpacePair, num_tasks: int, *, num_steps: int = 6, seed: int = 0
) -> Experience:
    """Steps with padding at the end, played by another policy than θ: no ratio is 1, none is clipped."""
    draw = generator(seed)
    observation = torch.randn(num_tasks, num_steps, spaces.observation.size, generator=draw)
    with torch.no_grad():
        distribution = policy.distribution(policy.shared_parameters(), observation)
        action = distribution.sample(draw)
        log_prob = distribution.log_prob(action)
    weight = torch.full((num_tasks, num_steps), 1 / (num_steps - 1))
    weight[:, -1] = 0.0
    return Experience(
        observation=observation,
        action=action,
        log_prob=log_prob + 0.05 * torch.randn(log_prob.shape, generator=draw),
        advantage=torch.randn(num_tasks, num_steps, generator=draw),
        weight=weight,
    )


def double(experience: Experience) -> Experience:
    def cast(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    return replace(experience, **{name: cast(value) for name, value in vars(experience).items()})


def of_task(experience: Experience, task: int) -> Experience:
    return replace(experience, **{name: value[task : task + 1] for name, value in vars(experience).items()})
