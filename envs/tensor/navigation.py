"""2-D navigation (Finn, Abbeel & Levine 2017, arXiv:1703.03400, section 5.3).

Rules: a point starts at the origin of the plane and is moved by velocities of at most 0.1 a step in each direction. A
task is a goal, uniform in [-0.5, 0.5]². The reward is minus the squared distance to the goal after the move. An episode
terminates within 0.01 of the goal and is truncated after ``max_episode_steps``. The position is observed, the goal is
not.

Shapes: B trials, M tasks.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from envs.family import FamilySpec, Split
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from envs.task_batch import Transition
from envs.tensor.counter_random import stream_key, task_seeds, uniform

MAX_VELOCITY = 0.1
MAX_GOAL = 0.5
GOAL_RADIUS = 0.01
MAX_EPISODE_STEPS = 100
"""The paper's horizon H, used if the family sets none."""

NAVIGATION_SPACES = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=2),
    action=ActionSpec(
        kind=ActionKind.CONTINUOUS, low=(-MAX_VELOCITY, -MAX_VELOCITY), high=(MAX_VELOCITY, MAX_VELOCITY)
    ),
)


class Navigation:
    """A batch of B parallel points in the plane.

    Args:
        spec: the family; ``max_episode_steps`` is the horizon, None takes the paper's 100.
        num_trials: B.
        device: device of the tensors.
        rows_per_task: R consecutive rows are the same task. A task has no random parts, so the rows differ by their
            actions.
    """

    def __init__(
        self, spec: FamilySpec, *, num_trials: int, device: torch.device | str, rows_per_task: int = 1
    ) -> None:
        self.spec = spec
        self.spaces = NAVIGATION_SPACES
        self.num_trials = num_trials
        self.may_truncate = True
        self.rows_per_task = rows_per_task
        self.device = torch.device(device)
        self.max_episode_steps = spec.max_episode_steps or MAX_EPISODE_STEPS
        self._origin = torch.zeros(num_trials, 2, device=self.device)

    def begin(self, first_task: int | Tensor, *, split: Split) -> Float[Tensor, "B 2"]:
        """Begin tasks ``first_task … first_task + M - 1`` of a split, R rows each."""
        key = stream_key(self.spec.entry, self.spec.kwargs, split, "tasks")
        seeds = task_seeds(key, first_task, self.num_trials // self.rows_per_task, self.device)
        self._first_task, self._split = first_task, split
        goals = uniform(seeds.repeat_interleave(self.rows_per_task), 0, 2)
        self._goal = goals.mul_(2.0).sub_(1.0).mul_(MAX_GOAL)
        self._episode_step = torch.zeros(self.num_trials, dtype=torch.int64, device=self.device)
        self._position = self._origin
        return self._position

    def step(self, action: Float[Tensor, "B 2"], active: Bool[Tensor, "B"]) -> Transition:
        """Move every active row's point. [-1, 1] spans the velocities; values outside are clipped."""
        moved = torch.add(self._position, action.clamp(-1.0, 1.0), alpha=MAX_VELOCITY)
        final = torch.where(active.unsqueeze(1), moved, self._position)
        self._episode_step = self._episode_step + active
        squared_distance = (final - self._goal).square().sum(1)
        terminated = (squared_distance <= GOAL_RADIUS**2) & active
        truncated = (self._episode_step >= self.max_episode_steps) & active & ~terminated
        has_ended = terminated | truncated
        self._episode_step = self._episode_step.masked_fill(has_ended, 0)
        self._position = final.masked_fill(has_ended.unsqueeze(1), 0.0)
        return Transition(
            observation=self._position,
            reward=-squared_distance * active,
            terminated=terminated,
            truncated=truncated,
            final_observation=final,
        )

    def task_parameters(self) -> Float[Tensor, "B 2"]:
        """Return the goals."""
        return self._goal

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the tasks in the given rows as JSON values, for the stored trials."""
        goals = self._goal[rows].tolist()
        return [
            {"split": self._split.value, "index": int(self._first_task) + row // self.rows_per_task, "goal": goal}
            for row, goal in zip(rows, goals, strict=True)
        ]

    def close(self) -> None:
        """Release nothing; safe to call twice."""
