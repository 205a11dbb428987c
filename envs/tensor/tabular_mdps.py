"""Random tabular MDPs (Duan et al. 2016, arXiv:1611.02779, section 3.2; after Osband & Van Roy 2017).

Rules: S states, A actions. The mean reward of a state and action is drawn from N(1, 1), and each reward adds noise from
N(0, 1). The distribution of the next state is drawn from a flat Dirichlet distribution. An episode starts in state 0
and terminates after ``horizon`` steps. The step within the episode is not observed.

Shapes: T steps, B trials, S states, A actions.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from envs.family import FamilySpec, Split
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from envs.task_batch import Transition
from envs.tensor.counter_random import exponential, noise_seeds, normal, stream_key, task_seeds, uniform
from envs.tensor.options import whole_number

MAX_NOISE = 1 << 20
"""Largest number of steps' noise drawn in advance at once, over all steps and trials."""


def mdp_spaces(num_states: int, num_actions: int) -> SpacePair:
    """Return spaces in which the state is observed as an index."""
    return SpacePair(
        observation=ObservationSpec(kind=ObservationKind.DISCRETE, size=num_states),
        action=ActionSpec(kind=ActionKind.DISCRETE, choices=(num_actions,), start=(0,)),
    )


class TabularMdps:
    """A batch of B parallel tabular MDPs.

    Every episode lasts ``horizon`` steps, so all rows are at the same step. The end of an episode is therefore known
    without fetching data from the device.

    Args:
        spec: the family; ``kwargs`` may contain ``num_states``, ``num_actions`` and ``horizon``.
        num_trials: B.
        device: device of the tensors.
        rows_per_task: R consecutive rows are the same task with independent noise and transitions.
    """

    def __init__(
        self, spec: FamilySpec, *, num_trials: int, device: torch.device | str, rows_per_task: int = 1
    ) -> None:
        self.spec = spec
        self.num_states = whole_number(spec, "num_states")
        self.num_actions = whole_number(spec, "num_actions")
        self.horizon = whole_number(spec, "horizon")
        self.spaces = mdp_spaces(self.num_states, self.num_actions)
        self.num_trials = num_trials
        self.may_truncate = False
        self.max_episode_steps = self.horizon
        self.rows_per_task = rows_per_task
        self.device = torch.device(device)
        pairs = self.num_states * self.num_actions
        self._first_pair = torch.arange(num_trials, device=self.device) * pairs
        self._start = torch.zeros(num_trials, dtype=torch.int64, device=self.device)
        self._start_observation = torch.zeros(num_trials, 1, device=self.device)
        self._never = torch.zeros(num_trials, dtype=torch.bool, device=self.device)
        self._block_steps = min(spec.episodes_per_trial * self.horizon, max(1, MAX_NOISE // num_trials))

    def begin(self, first_task: int | Tensor, *, split: Split) -> Float[Tensor, "B 1"]:
        """Begin tasks ``first_task … first_task + B/R - 1`` of a split, R rows each."""
        num_tasks = self.num_trials // self.rows_per_task
        parameter_seeds, reward_seeds, move_seeds = (
            task_seeds(
                stream_key(self.spec.entry, self.spec.kwargs, split, purpose), first_task, num_tasks, self.device
            )
            for purpose in ("tasks", "reward noise", "moves")
        )
        self._first_task, self._split = first_task, split
        self._reward_seeds = noise_seeds(reward_seeds, self.rows_per_task)
        self._move_seeds = noise_seeds(move_seeds, self.rows_per_task)
        self._draw_tasks(parameter_seeds.repeat_interleave(self.rows_per_task))
        self._draw_noise(0)
        self._state, self._pair = self._start, self._first_pair
        self._episode_step = 0
        return self._start_observation

    def step(self, action: Int64[Tensor, "B"], active: Bool[Tensor, "B"]) -> Transition:
        """Take one step in every active row.

        s' ~ P(· | s, a) by inversion of the cumulative distribution; r = mean(s, a) + noise.
        """
        if self._position == len(self._reward_noise):
            self._draw_noise(self._block_start + self._position)
        chosen = self._pair + action
        reward = self._means.index_select(0, chosen).add_(self._reward_noise[self._position]).mul_(active)
        boundaries = self._boundaries.index_select(0, chosen)
        moved = torch.searchsorted(boundaries, self._chances[self._position], right=True).squeeze(1)
        self._position += 1
        self._episode_step += 1
        final_state = torch.where(active, moved, self._state)
        final_observation = final_state.to(torch.float32).unsqueeze(1)
        if self._episode_step < self.horizon:
            self._enter(final_state)
            return Transition(
                observation=final_observation,
                reward=reward,
                terminated=self._never,
                truncated=self._never,
                final_observation=final_observation,
            )
        self._episode_step = 0
        self._enter(torch.where(active, self._start, self._state))
        return Transition(
            observation=self._state.to(torch.float32).unsqueeze(1),
            reward=reward,
            terminated=active.clone(),
            truncated=self._never,
            final_observation=final_observation,
        )

    def task_parameters(self) -> Float[Tensor, "B P"]:
        """Return mean rewards [S·A] and transition probabilities [S·A·S], flattened and joined."""
        return torch.cat([self.reward_means().flatten(1), self.transitions().flatten(1)], dim=1)

    def reward_means(self) -> Float[Tensor, "B S A"]:
        """Return the mean reward of each state and action."""
        return self._means.view(self.num_trials, self.num_states, self.num_actions)

    def transitions(self) -> Float[Tensor, "B S A S"]:
        """Return the probability of each next state after each state and action."""
        return self._transitions

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the tasks in the given rows as JSON values. The index of a task suffices to create it again."""
        return [
            {"split": self._split.value, "index": int(self._first_task) + row // self.rows_per_task} for row in rows
        ]

    def close(self) -> None:
        """Release nothing; safe to call twice."""

    def _draw_tasks(self, seeds: Int64[Tensor, "B"]) -> None:
        pairs = self.num_states * self.num_actions
        self._means = 1.0 + normal(seeds, 0, pairs).flatten()
        # A normal number consumes two numbers of the stream, so the weights start after 2 · pairs numbers.
        weights = exponential(seeds, 2 * pairs, pairs * self.num_states)
        weights = weights.view(self.num_trials, self.num_states, self.num_actions, self.num_states)
        self._transitions = weights.div_(weights.sum(-1, keepdim=True))
        # The last boundary is omitted, because rounding may put it below 1. A number above all boundaries selects the
        # last state.
        cumulative = self._transitions.cumsum(-1)[..., :-1]
        self._boundaries = cumulative.reshape(self.num_trials * pairs, self.num_states - 1)

    def _draw_noise(self, start: int) -> None:
        self._reward_noise = normal(self._reward_seeds, start, self._block_steps).t().contiguous()
        self._chances = uniform(self._move_seeds, start, self._block_steps).t().contiguous().unsqueeze(2)
        self._block_start, self._position = start, 0

    def _enter(self, state: Int64[Tensor, "B"]) -> None:
        self._state = state
        self._pair = torch.add(self._first_pair, state, alpha=self.num_actions)
