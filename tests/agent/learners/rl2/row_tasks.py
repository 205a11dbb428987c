"""Fake tasks, as if a worker stepped them, that begin another task in one row while the other rows go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from envs.family import FamilySource, FamilySpec, Split
from envs.spaces import ObservationKind, SpacePair
from envs.task_batch import Transition


class RowTasks:
    """Tasks whose episodes have a given length, and whose observations depend on the task and the step alone.

    Args:
        spaces: the spaces.
        lengths: steps of the episodes of the first tasks, negative where they are cut off; later tasks repeat them.
        num_trials: B.
        limit: the limit of steps of an episode, as it is known.
        episodes_per_trial: E.
        reward_scale: the factor of all rewards.
    """

    def __init__(
        self,
        spaces: SpacePair,
        lengths: Sequence[int],
        *,
        num_trials: int,
        limit: int | None = None,
        episodes_per_trial: int = 1,
        reward_scale: float = 1.0,
    ) -> None:
        self.spaces, self.num_trials, self.device, self.may_truncate = spaces, num_trials, torch.device("cpu"), True
        self.spec = FamilySpec(
            name="scripted", source=FamilySource.GYMNASIUM, entry="Rows-v0", episodes_per_trial=episodes_per_trial
        )
        self.max_episode_steps = limit
        self.num_begins, self.begun = 0, []
        self._lengths, self._scale = lengths, reward_scale

    def begin(self, first_task: int, *, split: Split) -> Tensor:
        self.num_begins += 1
        self._task = [first_task + row for row in range(self.num_trials)]
        self._step, self._episode = [0] * self.num_trials, [0] * self.num_trials
        return torch.stack([self._seen(row) for row in range(self.num_trials)])

    def begin_row(self, row: int, index: int, *, split: Split) -> Tensor:
        self.begun.append((row, index))
        self._task[row], self._step[row], self._episode[row] = index, 0, 0
        return self._seen(row)

    def step(self, action: Tensor, active: Tensor) -> Transition:
        terminated, truncated = (torch.zeros(self.num_trials, dtype=torch.bool) for _ in range(2))
        final, following = [], []
        for row in range(self.num_trials):
            self._step[row] += int(active[row])
            final.append(self._seen(row))
            length = self._lengths[self._task[row] % len(self._lengths)]
            if active[row] and self._step[row] == abs(length):
                (terminated if length > 0 else truncated)[row] = True
                self._step[row], self._episode[row] = 0, self._episode[row] + 1
            following.append(self._seen(row))
        total = action.float() if action.ndim == 1 else action.float().sum(-1)
        paid = torch.stack(final).float().mean(-1) + total
        return Transition(
            observation=torch.stack(following),
            reward=paid * active * self._scale,
            terminated=terminated,
            truncated=truncated,
            final_observation=torch.stack(final),
        )

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        return [{"index": self._task[row]} for row in rows]

    def task_parameters(self) -> Tensor:
        return torch.zeros(self.num_trials, 0)

    def close(self) -> None:
        pass

    def _seen(self, row: int) -> Tensor:
        place = self._task[row] * 31 + self._episode[row] * 5 + self._step[row] * 7
        observation = self.spaces.observation
        if observation.kind is ObservationKind.DISCRETE:
            return torch.tensor([float(place % 13 % observation.size)])
        return torch.arange(1.0, observation.size + 1.0).mul_(place).sin_()
