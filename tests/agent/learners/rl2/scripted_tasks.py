"""A fake task batch whose episodes' lengths and ends are written down beforehand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from envs.family import FamilySource, FamilySpec, Split
from envs.spaces import ActionKind, ActionSpec, ImageShape, ObservationKind, ObservationSpec, SpacePair
from envs.task_batch import Transition

DISCRETE = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.DISCRETE, size=4),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(3,), start=(0,)),
)
VECTOR = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=3),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,)),
)
CHOICES = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=3, num_distinct=8),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,)),
)
"""Three numbers of 0 or 1: vectors that are matched exactly."""
WIDE = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=40),
    action=ActionSpec(kind=ActionKind.MULTI_DISCRETE, choices=(2, 3), start=(0, 0)),
)
CONTINUOUS = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=3),
    action=ActionSpec(kind=ActionKind.CONTINUOUS, low=(-2.0, -1.0), high=(2.0, 1.0)),
)
MIXED = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=3),
    action=ActionSpec(kind=ActionKind.MIXED, choices=(3, 2), low=(-2.0, 0.0), high=(2.0, 1.0), start=(0, 5)),
)
IMAGES = SpacePair(
    observation=ObservationSpec(
        kind=ObservationKind.IMAGE,
        size=3,
        images=(ImageShape(height=20, width=13, channels=3), ImageShape(height=8, width=9, channels=1)),
    ),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(3,), start=(0,)),
)
ALL_SPACES = {
    "discrete": DISCRETE,
    "vector": VECTOR,
    "choices": CHOICES,
    "multi_discrete": WIDE,
    "continuous": CONTINUOUS,
    "mixed": MIXED,
    "images": IMAGES,
}


class ScriptedTasks:
    """B trials; ``lengths[b][e]`` steps in episode e of trial b, negative where the episode is cut off.

    Observations are random numbers of (row, step), rewards those plus the sum of the action.
    """

    def __init__(self, spaces: SpacePair, lengths: list[list[int]]) -> None:
        self.spaces, self.lengths, self.may_truncate = spaces, lengths, True
        self.max_episode_steps = None
        self.num_trials, self.device = len(lengths), torch.device("cpu")
        self.spec = FamilySpec(
            name="scripted", source=FamilySource.TENSOR, entry="scripted", episodes_per_trial=len(lengths[0])
        )

    def begin(self, first_task: int, *, split: Split) -> Tensor:
        self._generator = torch.Generator().manual_seed(first_task)
        self._episode = [0] * self.num_trials
        self._step = [0] * self.num_trials
        self._observation = self._draw()
        return self._observation

    def step(self, action: Tensor, active: Tensor) -> Transition:
        terminated, truncated = (torch.zeros(self.num_trials, dtype=torch.bool) for _ in range(2))
        for row in active.nonzero().squeeze(1).tolist():
            self._step[row] += 1
            length = self.lengths[row][self._episode[row]]
            if self._step[row] == abs(length):
                (terminated if length > 0 else truncated)[row] = True
                self._episode[row] += 1
                self._step[row] = 0
        following, first = self._draw(), self._draw()
        ended = (terminated | truncated).unsqueeze(1)
        active_column = active.unsqueeze(1)
        final = torch.where(active_column, following, self._observation)
        self._observation = torch.where(ended, first, final)
        total = action.float() if action.ndim == 1 else action.float().sum(-1)
        return Transition(
            observation=self._observation,
            reward=(_total(final, self.spaces.observation) + total) * active,
            terminated=terminated,
            truncated=truncated,
            final_observation=final,
        )

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        return [{"row": row} for row in rows]

    def task_parameters(self) -> Tensor:
        return torch.zeros(self.num_trials, 0)

    def close(self) -> None:
        pass

    def _draw(self) -> Tensor:
        observation = self.spaces.observation
        if observation.kind is ObservationKind.DISCRETE:
            drawn = torch.randint(observation.size, (self.num_trials, 1), generator=self._generator)
            return drawn.float()
        numbers = torch.randn(self.num_trials, observation.size, generator=self._generator)
        if observation.num_distinct:
            return (numbers > 0.0).float()
        if observation.kind is ObservationKind.VECTOR:
            return numbers
        shape = (self.num_trials, observation.width - observation.numbers_bytes)
        pixels = torch.randint(256, shape, generator=self._generator, dtype=torch.uint8)
        return torch.cat([numbers.view(torch.uint8), pixels], dim=1)


class MaskedTasks(ScriptedTasks):
    """Scripted tasks that allow some of the choices, others at each step, and refuse actions that are not allowed."""

    def begin(self, first_task: int, *, split: Split) -> Tensor:
        observation = super().begin(first_task, split=split)
        self._masks = torch.Generator().manual_seed(first_task)
        self._draw_masks()
        return observation

    def step(self, action: Tensor, active: Tensor) -> Transition:
        chosen = action.view(self.num_trials, -1)[:, : len(self.spaces.action.choices)].long()
        masks = torch.split(self.allowed, list(self.spaces.action.choices), dim=1)
        for column, mask in zip(chosen.T, masks, strict=True):
            assert mask.gather(1, column.unsqueeze(1))[active].all(), "an action is not allowed"
        transition = super().step(action, active)
        self._draw_masks()
        return transition

    def allowed_choices(self) -> Tensor:
        return self.allowed.clone()

    def _draw_masks(self) -> None:
        masks = []
        for choices in self.spaces.action.choices:
            mask = torch.rand(self.num_trials, choices, generator=self._masks) < 0.5
            certain = torch.randint(choices, (self.num_trials, 1), generator=self._masks)
            masks.append(mask.scatter(1, certain, value=True))
        self.allowed = torch.cat(masks, dim=1)


def _total(observation: Tensor, spec: ObservationSpec) -> Tensor:
    if spec.kind is ObservationKind.IMAGE:
        return observation[:, spec.numbers_bytes :].float().mean(-1) / 255.0
    return observation.sum(-1)
