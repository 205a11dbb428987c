"""Dark rooms (Laskin et al. 2022, arXiv:2210.14215; sizes and split of Schmied et al. 2024, arXiv:2410.07071).

Rules: an agent begins in the corner (0, 0) of a square room and observes the number of its cell alone. The actions are
north, east, south, west and stay; a move against a wall stays. A task is a goal cell, and every step that ends at the
goal is paid 1. An episode terminates after ``max_episode_steps``. The goals of held-out tasks are not those of training
tasks: one goal in five is held out.

Shapes: B trials, G goals of a split.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from envs.family import FamilySpec, Split, in_pool
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from envs.task_batch import Transition
from envs.tensor.counter_random import seeds_of, stream_key, uniform
from envs.tensor.options import whole_number

MAX_EPISODE_STEPS = 100
"""The published length for rooms of 10 × 10, used if the family sets none."""

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))
"""Rows and columns of north, east, south, west and stay."""

PUBLISHED_HELD_OUT = (
    90, 84, 34, 65, 75, 50, 35, 98, 87, 30, 66, 59, 17, 51, 16, 58, 21, 49, 64, 68
)  # fmt: skip
"""Numbers 10 · row + column of the held-out goals of Schmied et al. 2024 in a room of 10 × 10."""


class DarkRooms:
    """A batch of B parallel dark rooms.

    Args:
        spec: the family; ``kwargs`` may contain ``size`` (10) and ``split``, the number of a random split of the goals.
            Without it, rooms of 10 × 10 have the published split and others split 0.
        num_trials: B.
        device: device of the tensors.
        rows_per_task: R consecutive rows are the same task. A task has no random parts, so the rows differ by their
            actions.
    """

    recurs = True

    def __init__(
        self, spec: FamilySpec, *, num_trials: int, device: torch.device | str, rows_per_task: int = 1
    ) -> None:
        self.spec = spec
        self.size = whole_number(spec, "size")
        self.spaces = SpacePair(
            observation=ObservationSpec(kind=ObservationKind.DISCRETE, size=self.size**2),
            action=ActionSpec(kind=ActionKind.DISCRETE, choices=(len(MOVES),), start=(0,)),
        )
        self.num_trials, self.rows_per_task = num_trials, rows_per_task
        self.may_truncate = False
        self.max_episode_steps = spec.max_episode_steps or MAX_EPISODE_STEPS
        self.device = torch.device(device)
        self._moves = torch.tensor(MOVES, device=self.device)
        self._never = torch.zeros(num_trials, dtype=torch.bool, device=self.device)
        self._goals = {split: goals.to(self.device) for split, goals in self._split_goals().items()}

    def begin(self, first_task: int | Tensor, *, split: Split) -> Float[Tensor, "B 1"]:
        """Begin tasks ``first_task … first_task + B/R - 1`` of a split, R rows each.

        The goals of training tasks are drawn; those of held-out tasks are all held-out goals in turn.
        """
        tasks = first_task + torch.arange(self.num_trials, device=self.device) // self.rows_per_task
        return self.begin_tasks(tasks, torch.zeros_like(tasks), split=split)

    def begin_tasks(
        self, tasks: Int64[Tensor, "B"], exposures: Int64[Tensor, "B"], *, split: Split
    ) -> Float[Tensor, "B 1"]:
        """Begin one given task in each row. A room has no noise, so every exposure is the same."""
        tasks, _ = in_pool(self.spec, split, tasks, exposures)
        goals = self._goals[split]
        if split is Split.TRAINING:
            key = stream_key(self.spec.entry, self.spec.kwargs, split, "tasks")
            index = (uniform(seeds_of(key, tasks), 0, 1)[:, 0] * len(goals)).long()
        else:
            index = tasks % len(goals)
        self._tasks, self._split = tasks, split
        self._goal = goals[index]
        self._cell = torch.zeros(self.num_trials, 2, dtype=torch.int64, device=self.device)
        self._episode_step = torch.zeros(self.num_trials, dtype=torch.int64, device=self.device)
        return self._observe(self._cell)

    def step(self, action: Int64[Tensor, "B"], active: Bool[Tensor, "B"]) -> Transition:
        """Move in every active row."""
        moved = (self._cell + self._moves[action]).clamp_(0, self.size - 1)
        final = torch.where(active.unsqueeze(1), moved, self._cell)
        self._episode_step = self._episode_step + active
        terminated = (self._episode_step >= self.max_episode_steps) & active
        seen = self._observe(final)
        reward = ((seen[:, 0].long() == self._goal) & active).to(torch.float32)
        self._episode_step = self._episode_step.masked_fill(terminated, 0)
        self._cell = final.masked_fill(terminated.unsqueeze(1), 0)
        return Transition(
            observation=self._observe(self._cell),
            reward=reward,
            terminated=terminated,
            truncated=self._never,
            final_observation=seen,
        )

    def task_parameters(self) -> Float[Tensor, "B 1"]:
        """Return the number of the goal cell."""
        return self._goal.unsqueeze(1).to(torch.float32)

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the tasks in the given rows as JSON values, for the stored trials."""
        goals = self._goal[rows].tolist()
        return [
            {
                "split": self._split.value,
                "index": int(self._tasks[row]),
                "goal": list(divmod(goal, self.size)),
            }
            for row, goal in zip(rows, goals, strict=True)
        ]

    def close(self) -> None:
        """Release nothing; safe to call twice."""

    def _observe(self, cell: Int64[Tensor, "B 2"]) -> Float[Tensor, "B 1"]:
        return (cell[:, :1] * self.size + cell[:, 1:]).to(torch.float32)

    def _split_goals(self) -> dict[Split, Int64[Tensor, " G"]]:
        """Return the goals of both splits."""
        number = self.spec.kwargs.get("split")
        if number is None and self.size == 10:
            held_out = torch.tensor(PUBLISHED_HELD_OUT)
        else:
            generator = torch.Generator().manual_seed(int(number or 0))
            held_out = torch.randperm(self.size**2, generator=generator)[: self.size**2 // 5]
        is_held_out = torch.zeros(self.size**2, dtype=torch.bool).index_fill_(0, held_out, value=True)
        return {Split.TRAINING: (~is_held_out).nonzero().squeeze(1), Split.HELD_OUT: held_out}
