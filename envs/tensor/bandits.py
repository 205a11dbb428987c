"""Bernoulli bandits (Duan et al. 2016, arXiv:1611.02779, section 3.1).

Rules: a task has K arms. Arm k pays 1 with probability p_k and 0 otherwise, with p_k ~ U[0, 1]. The observation is
constant. An episode is one pull and terminates, so a trial of n pulls consists of n episodes of one step.

Shapes: T steps, B trials, A arms.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from envs.family import FamilySpec, Split
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from envs.task_batch import Transition
from envs.tensor.counter_random import noise_seeds, stream_key, task_seeds, uniform
from envs.tensor.options import whole_number

MAX_OUTCOMES = 1 << 22
"""Largest number of outcomes drawn in advance at once, over all steps, trials and arms."""


def bandit_spaces(num_arms: int) -> SpacePair:
    """Return spaces with one observation and ``num_arms`` actions."""
    return SpacePair(
        observation=ObservationSpec(kind=ObservationKind.DISCRETE, size=1),
        action=ActionSpec(kind=ActionKind.DISCRETE, choices=(num_arms,), start=(0,)),
    )


class BernoulliBandits:
    """A batch of B parallel bandit tasks.

    The outcomes of all arms at the following steps are drawn in advance in blocks, so that a step is one look-up. The
    arms of a task share one uniform number per step. This cannot be noticed, because only one arm is pulled per step.

    Args:
        spec: the family; ``kwargs`` may contain ``num_arms``.
        num_trials: B.
        device: device of the tensors.
        rows_per_task: R consecutive rows are the same task with independent outcomes.
    """

    def __init__(
        self, spec: FamilySpec, *, num_trials: int, device: torch.device | str, rows_per_task: int = 1
    ) -> None:
        self.spec = spec
        self.num_arms = whole_number(spec, "num_arms")
        self.spaces = bandit_spaces(self.num_arms)
        self.num_trials = num_trials
        self.may_truncate = False
        self.max_episode_steps = 1
        self.rows_per_task = rows_per_task
        self.device = torch.device(device)
        self._observation = torch.zeros(num_trials, 1, device=self.device)
        self._never = torch.zeros(num_trials, dtype=torch.bool, device=self.device)
        self._block_steps = min(spec.episodes_per_trial, max(1, MAX_OUTCOMES // (num_trials * self.num_arms)))

    def begin(self, first_task: int | Tensor, *, split: Split) -> Float[Tensor, "B 1"]:
        """Begin tasks ``first_task … first_task + B/R - 1`` of a split, R rows each."""
        num_tasks = self.num_trials // self.rows_per_task
        parameter_seeds, pull_seeds = (
            task_seeds(
                stream_key(self.spec.entry, self.spec.kwargs, split, purpose), first_task, num_tasks, self.device
            )
            for purpose in ("tasks", "noise")
        )
        self._noise_seeds = noise_seeds(pull_seeds, self.rows_per_task)
        self._arms = uniform(parameter_seeds.repeat_interleave(self.rows_per_task), 0, self.num_arms)
        self._first_task, self._split = first_task, split
        self._draw_outcomes(0)
        return self._observation

    def step(self, action: Int64[Tensor, "B"], active: Bool[Tensor, "B"]) -> Transition:
        """Pull one arm in every active row; every pull terminates its episode."""
        if self._position == len(self._outcomes):
            self._draw_outcomes(self._block_start + self._position)
        reward = self._outcomes[self._position].gather(1, action.unsqueeze(1)).squeeze(1).mul_(active)
        self._position += 1
        return Transition(
            observation=self._observation,
            reward=reward,
            terminated=active.clone(),
            truncated=self._never,
            final_observation=self._observation,
        )

    def task_parameters(self) -> Float[Tensor, "B A"]:
        """Return the probability with which each arm pays."""
        return self._arms

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the tasks in the given rows as JSON values, for the stored trials."""
        arms = self._arms[rows].tolist()
        return [
            {"split": self._split.value, "index": int(self._first_task) + row // self.rows_per_task, "arms": row_arms}
            for row, row_arms in zip(rows, arms, strict=True)
        ]

    def close(self) -> None:
        """Release nothing; safe to call twice."""

    def _draw_outcomes(self, start: int) -> None:
        chances = uniform(self._noise_seeds, start, self._block_steps)
        self._outcomes = (chances.t().unsqueeze(2) < self._arms).to(torch.float32)
        self._block_start, self._position = start, 0
