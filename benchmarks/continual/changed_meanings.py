"""Families that share their spaces and contradict one another: the same tasks with other meanings of their numbers.

Shapes: B trials, D observation width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from envs.family import Split
from envs.task_batch import TaskBatch, Transition


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """The meanings of a family's numbers in terms of the family it was made from.

    Attributes:
        actions: action i of the policy is action ``actions[i]`` of the original; empty changes nothing.
        observations: number j of the observation is number ``observations[j]`` of the original; empty changes nothing.
        signs: the sign of each number of the observation after that, 1 or -1; empty changes nothing.
        reward_sign: 1, or -1 for rewards that are negated.
    """

    actions: tuple[int, ...] = ()
    observations: tuple[int, ...] = ()
    signs: tuple[int, ...] = ()
    reward_sign: int = 1


class ChangedMeaning:
    """A task batch with discrete actions whose numbers have another meaning.

    Args:
        tasks: the original tasks.
        meaning: the meaning of the numbers.
        name: the family's name.
    """

    def __init__(self, tasks: TaskBatch, meaning: Meaning, *, name: str) -> None:
        self.spec = replace(tasks.spec, name=name)
        self.spaces, self.num_trials, self.device = tasks.spaces, tasks.num_trials, tasks.device
        self.may_truncate = tasks.may_truncate
        self._tasks, self._reward_sign = tasks, meaning.reward_sign
        self._actions = torch.tensor(meaning.actions, device=tasks.device) if meaning.actions else None
        self._order = torch.tensor(meaning.observations, device=tasks.device) if meaning.observations else None
        self._signs = torch.tensor(meaning.signs, device=tasks.device) if meaning.signs else None

    @property
    def max_episode_steps(self) -> int | None:
        """The largest number of steps of an episode; None if it is unknown."""
        return self._tasks.max_episode_steps

    def begin(self, first_task: int, *, split: Split) -> Float[Tensor, "B D"]:
        """Begin tasks ``first_task … first_task + B - 1`` of a split."""
        return self._observed(self._tasks.begin(first_task, split=split))

    def step(self, action: Int64[Tensor, "B"], active: Bool[Tensor, "B"]) -> Transition:
        """Take one step in every active row."""
        transition = self._tasks.step(action if self._actions is None else self._actions[action], active)
        return replace(
            transition,
            observation=self._observed(transition.observation),
            reward=transition.reward if self._reward_sign > 0 else -transition.reward,
            final_observation=self._observed(transition.final_observation),
        )

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the tasks in the given rows as JSON values."""
        return self._tasks.describe_tasks(rows)

    def task_parameters(self) -> Float[Tensor, "B P"]:
        """Return the parameters of each task as numbers."""
        return self._tasks.task_parameters()

    def close(self) -> None:
        """Release the original tasks; safe to call twice."""
        self._tasks.close()

    def _observed(self, observation: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        if self._order is not None:
            observation = observation[:, self._order]
        return observation if self._signs is None else observation * self._signs
