"""Changes of what passes between policy and environment: actions, observations and rewards of a batch of tasks.

The environment itself stays as it is, so these changes fit any environment. They are made on the trainer's side of a
worker, for all rows at once. Everything random is a function of the task's seed and of the number of its steps.

Shapes: B trials, D observation width, n action width, C choices, K longest delay.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from envs.gymnasium.task_drawing import Task
from envs.gymnasium.variations import InterfaceChange, Variation, VariationTarget
from envs.spaces import ActionSpec, ObservationKind, SpacePair
from envs.tensor.counter_random import uniform_at


class Interface:
    """The changes of the interface of B tasks, one task per row.

    A row without a task, and a change that the family does not have, pass everything on as it is.

    Args:
        variations: the family's variations; only those of the interface count.
        spaces: the family's spaces.
        num_trials: B.
    """

    def __init__(self, variations: Sequence[Variation], spaces: SpacePair, *, num_trials: int) -> None:
        changed = {v.name: v for v in variations if v.target is VariationTarget.INTERFACE}
        self.has_changes = bool(changed)
        self._names = frozenset(changed)
        self._spaces = spaces
        # The bytes of images are never changed.
        width = 0 if spaces.observation.kind is ObservationKind.IMAGE else spaces.observation.width
        delay = changed.get(InterfaceChange.REWARD_DELAY)
        self._num_slots = 1 + (int(delay.high) if delay is not None else 0)
        is_index = spaces.observation.kind is ObservationKind.DISCRETE
        self._seeds = torch.zeros(num_trials, dtype=torch.int64)
        self._clock = torch.zeros(num_trials, dtype=torch.int64)
        self._action_orders = _identities(action_sizes(spaces.action), num_trials)
        self._action_signs = torch.ones(num_trials, spaces.action.num_numbers)
        self._order = torch.arange(spaces.observation.size if is_index else width).repeat(num_trials, 1)
        self._factors = torch.ones(num_trials, width)
        self._stickiness = torch.zeros(num_trials)
        self._delay = torch.zeros(num_trials, dtype=torch.int64)
        self._due = torch.zeros(num_trials, self._num_slots)
        self._previous: Tensor | None = None
        self._has_previous = torch.zeros(num_trials, dtype=torch.bool)

    def begin(self, tasks: Sequence[Task]) -> None:
        """Take the values of tasks that begin in the first rows."""
        for row, task in enumerate(tasks if self.has_changes else ()):
            self.begin_row(row, task)

    def begin_row(self, row: int, task: Task) -> None:
        """Take the values of a task that begins in one row."""
        if not self.has_changes:
            return
        values = task.interface
        self._seeds[row], self._clock[row] = task.seed, 0
        self._has_previous[row] = False
        self._due[row] = 0.0
        self._stickiness[row] = values.get(InterfaceChange.STICKY_ACTIONS, 0.0)
        self._delay[row] = values.get(InterfaceChange.REWARD_DELAY, 0)
        for orders, order in zip(self._action_orders, values.get(InterfaceChange.ACTIONS, ()), strict=False):
            orders[row] = torch.tensor(order)
        self._action_signs[row] = torch.tensor(values.get(InterfaceChange.ACTION_SIGNS, 1.0))
        if InterfaceChange.OBSERVATIONS in values:
            self._order[row] = torch.tensor(values[InterfaceChange.OBSERVATIONS][0])
        scales = torch.tensor(values.get(InterfaceChange.OBSERVATION_SCALES, 1.0))
        self._factors[row] = scales * torch.tensor(values.get(InterfaceChange.OBSERVATION_SIGNS, 1.0))

    def change_actions(self, action: Shaped[Tensor, "B *n"], active: Bool[Tensor, " B"]) -> Shaped[Tensor, "B *n"]:
        """Return the actions that the environments take for the policy's actions.

        Continuous actions are still in [-1, 1], so a sign mirrors an action within its bounds.

        Args:
            action: the policy's actions, on the CPU.
            active: rows that are stepped.
        """
        if not self.has_changes:
            return action
        if InterfaceChange.STICKY_ACTIONS in self._names:
            action = self._stuck(action, active)
        columns, num_dimensions = action.view(len(action), -1), len(self._spaces.action.choices)
        taken = [
            order.gather(1, column.long().unsqueeze(1)).to(action.dtype)
            for order, column in zip(self._action_orders[:num_dimensions], columns.T[:num_dimensions], strict=True)
        ]
        if self._spaces.action.has_numbers:
            numbers = columns[:, num_dimensions:]
            taken.append(numbers.gather(1, self._action_orders[-1]) * self._action_signs)
        return torch.cat(taken, 1).view(action.shape)

    def change_masks(self, allowed: Bool[Tensor, "B C"]) -> Bool[Tensor, "B C"]:
        """Return which of the policy's choices are allowed, for the choices that the environments allow."""
        if InterfaceChange.ACTIONS not in self._names:
            return allowed
        masks = torch.split(allowed, list(self._spaces.action.choices), dim=1)
        return torch.cat([mask.gather(1, order) for mask, order in zip(masks, self._action_orders, strict=False)], 1)

    def change_observations(self, observation: Shaped[Tensor, "B D"]) -> Shaped[Tensor, "B D"]:
        """Return the observations that the policy gets for the environments' observations."""
        if not self._names & _OF_OBSERVATIONS:
            return observation
        if self._spaces.observation.kind is ObservationKind.DISCRETE:
            return self._order[: len(observation)].gather(1, observation.long()).to(observation.dtype)
        seen = observation.gather(1, self._order[: len(observation)]) * self._factors[: len(observation)]
        return seen.clamp_(torch.finfo(seen.dtype).min, torch.finfo(seen.dtype).max)

    def finish_step(
        self, reward: Float[Tensor, " B"], has_ended: Bool[Tensor, " B"] | None, active: Bool[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Count a step, and return the rewards that the policy gets for it.

        Args:
            reward: the environments' rewards; 0 in rows that were not stepped.
            has_ended: rows whose episode ended with the step; None if there are none.
            active: rows that were stepped.
        """
        if not self.has_changes:
            return reward
        if has_ended is not None:
            self._has_previous &= ~has_ended
        if self._num_slots > 1:
            reward = self._late(reward, has_ended, active)
        self._clock += active
        return reward

    def _stuck(self, action: Tensor, active: Tensor) -> Tensor:
        """Replace an action by the previous one of its episode where the task's coin says so."""
        previous = action if self._previous is None else self._previous
        coin = uniform_at(self._seeds, self._clock, 2)[:, 0]
        is_stuck = (coin < self._stickiness) & self._has_previous & active
        wide = (-1, *[1] * (action.dim() - 1))
        self._previous = torch.where(is_stuck.view(wide), previous, action)
        self._has_previous |= active
        return self._previous

    def _late(self, reward: Tensor, has_ended: Tensor | None, active: Tensor) -> Tensor:
        """Put rewards into the slots of the steps that pay them, and return what is due now."""
        slot = ((self._clock + self._delay) % self._num_slots).unsqueeze(1)
        now = (self._clock % self._num_slots).unsqueeze(1)
        self._due.scatter_add_(1, slot, reward.unsqueeze(1))
        due = self._due.gather(1, now).squeeze(1)
        paid = due if has_ended is None else torch.where(has_ended, self._due.sum(1), due)
        self._due.scatter_(1, now, due.masked_fill(active, 0.0).unsqueeze(1))
        if has_ended is not None:
            self._due[has_ended] = 0.0
        return paid.masked_fill(~active, 0.0)


_OF_OBSERVATIONS = frozenset(
    {InterfaceChange.OBSERVATIONS, InterfaceChange.OBSERVATION_SCALES, InterfaceChange.OBSERVATION_SIGNS}
)


def action_sizes(action: ActionSpec) -> tuple[int, ...]:
    """Return the sizes of what is permuted: the choices of each dimension, then all numbers together."""
    return (*action.choices, action.num_numbers) if action.has_numbers else action.choices


def _identities(sizes: Sequence[int], num_trials: int) -> list[Int64[Tensor, "B size"]]:
    return [torch.arange(size).repeat(num_trials, 1) for size in sizes]
