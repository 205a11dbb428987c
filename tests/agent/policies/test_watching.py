"""A watched trial passes every moment on, and the policy what each action led to."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import torch

from agent.policies.watching import Moment, watch_trial
from envs.family import FamilySource, FamilySpec
from envs.spaces import SpacePair
from tests.envs.families import opened

LAKE = FamilySpec(
    name="lake",
    source=FamilySource.GYMNASIUM,
    entry="FrozenLake-v1",
    kwargs={"is_slippery": False},
    max_episode_steps=6,
)


class _Scripted:
    """A policy that takes given actions, and keeps what it was told."""

    def __init__(self, actions: list[int]) -> None:
        self._actions = iter(actions)
        self.began: dict[str, Any] = {}
        self.told: list[tuple[float, bool, bool]] = []

    def begin(self, spaces: SpacePair, *, episodes_per_trial: int, seed: int, is_greedy: bool) -> _Scripted:
        self.began = {"episodes": episodes_per_trial, "seed": seed, "is_greedy": is_greedy}
        return self

    def act(self, observation: torch.Tensor) -> torch.Tensor:
        return torch.tensor([next(self._actions)])

    def observe(
        self,
        *,
        reward: torch.Tensor,
        final_observation: torch.Tensor,
        terminated: torch.Tensor,
        truncated: torch.Tensor,
    ) -> None:
        self.told.append((float(reward), bool(terminated), bool(truncated)))


LEFT, DOWN, RIGHT = 0, 1, 2
TO_THE_GOAL = [DOWN, DOWN, RIGHT, RIGHT, DOWN, RIGHT]
AGAINST_THE_WALL = [LEFT] * 6


def played(actions: list[int], num_episodes: int) -> tuple[_Scripted, list[Moment]]:
    policy = _Scripted(actions)
    with closing(opened(LAKE, 1)) as tasks:
        return policy, list(watch_trial(policy, tasks, task=0, num_episodes=num_episodes, seed=4, is_greedy=True))


def test_there_is_a_moment_after_each_reset_and_step() -> None:
    policy, moments = played(AGAINST_THE_WALL + TO_THE_GOAL, 2)
    assert [(m.episode, m.step) for m in moments] == [(0, n) for n in range(7)] + [(1, n) for n in range(7)]
    assert policy.began == {"episodes": 2, "seed": 4, "is_greedy": True}


def test_episodes_end_with_their_returns_and_the_next_ones_know_them() -> None:
    policy, moments = played(AGAINST_THE_WALL + TO_THE_GOAL, 2)
    first, second = (moment.ended for moment in moments if moment.ended)
    assert (first.total, first.steps, first.is_terminated) == (0.0, 6, False)
    assert (second.total, second.steps, second.is_terminated) == (1.0, 6, True)
    assert moments[-1].earlier == (first,)
    assert policy.told[5] == (0.0, False, True)
    assert policy.told[-1] == (1.0, True, False)
