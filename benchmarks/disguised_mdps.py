"""Tabular MDPs with vector observations: a code that identifies the state, and numbers without meaning.

A memory that matches whole observations rarely recognises a state. A memory with learned keys may learn which numbers
to use. Compared with the same MDPs with the state as an index (:mod:`envs.tensor.tabular_mdps`), this shows the largest
possible benefit of learned keys.

Shapes: B trials, S states, D observation width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from envs.family import FamilySpec, Split
from envs.spaces import ObservationKind, ObservationSpec, SpacePair
from envs.task_batch import Transition
from envs.tensor.tabular_mdps import TabularMdps

NUM_SIGNS = 5
"""Length of a code, each number -1 or 1: four identify one of up to sixteen states, the fifth is their product."""

NUM_DISTRACTIONS = 11
"""Number of meaningless components, drawn at every step from N(0, 1)."""


class DisguisedMdps:
    """A batch of B parallel MDPs with disguised states; otherwise like :class:`envs.tensor.tabular_mdps.TabularMdps`.

    Args:
        spec: the family of tabular MDPs.
        num_trials: B.
    """

    def __init__(self, spec: FamilySpec, *, num_trials: int) -> None:
        self._mdps = TabularMdps(spec, num_trials=num_trials, device="cpu")
        self.spec, self.num_trials, self.device = spec, num_trials, self._mdps.device
        self.may_truncate, self.max_episode_steps = self._mdps.may_truncate, self._mdps.max_episode_steps
        size = NUM_SIGNS + NUM_DISTRACTIONS
        observation = ObservationSpec(kind=ObservationKind.VECTOR, size=size)
        self.spaces = SpacePair(observation=observation, action=self._mdps.spaces.action)
        states = torch.arange(self._mdps.num_states)
        signs = torch.stack([1.0 - 2.0 * ((states >> bit) & 1) for bit in range(NUM_SIGNS - 1)], dim=-1)
        self._codes = torch.cat([signs, signs.prod(-1, keepdim=True)], dim=-1)

    def begin(self, first_task: int, *, split: Split) -> Tensor:
        """Begin the MDPs; the first task and the split determine the meaningless numbers of a batch."""
        self._generator = torch.Generator().manual_seed(2 * first_task + int(split is Split.HELD_OUT))
        return self._seen(self._mdps.begin(first_task, split=split))

    def step(self, action: Tensor, active: Tensor) -> Transition:
        """Step the MDPs."""
        moved = self._mdps.step(action, active)
        observation = self._seen(moved.observation)
        ended = (moved.terminated | moved.truncated).unsqueeze(-1)
        return Transition(
            observation=observation,
            reward=moved.reward,
            terminated=moved.terminated,
            truncated=moved.truncated,
            final_observation=torch.where(ended, self._seen(moved.final_observation), observation),
        )

    def task_parameters(self) -> Tensor:
        """Return the parameters of the MDPs."""
        return self._mdps.task_parameters()

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the MDPs in the given rows."""
        return self._mdps.describe_tasks(rows)

    def close(self) -> None:
        """Release nothing."""

    def _seen(self, state: Tensor) -> Tensor:
        distractions = torch.randn(self.num_trials, NUM_DISTRACTIONS, generator=self._generator)
        return torch.cat([self._codes[state[:, 0].long()], distractions], dim=-1)
