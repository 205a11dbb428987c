"""The one way tasks are stepped: B tasks of a family side by side, as tensors or through a worker.

Shapes: B trials, D observation width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from optree.dataclasses import register_node
from torch import Tensor

from envs.family import FamilySpec, Split
from envs.spaces import SpacePair


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class Transition:
    """What one step of B tasks gave.

    An episode that ends is followed at once by the reset of the same task, so ``observation`` is always what to act
    on next; there is no dummy step. ``final_observation`` is the true last observation where an episode ended.

    Attributes:
        observation: [B, D] float32, what to act on next.
        reward: [B] float32.
        terminated: [B] bool, the episode ended in a terminal state.
        truncated: [B] bool, the episode was cut off by a time limit (never both).
        final_observation: [B, D] float32, equal to ``observation`` where no episode ended.
    """

    observation: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    final_observation: Tensor


@runtime_checkable
class TaskBatch(Protocol):
    """B tasks of one family, one a row.

    Attributes:
        spec: the family.
        spaces: its spaces.
        num_trials: B.
        device: where its tensors live.
        may_truncate: whether an episode of it can be cut off: where none can, none is looked for.
    """

    spec: FamilySpec
    spaces: SpacePair
    num_trials: int
    device: torch.device
    may_truncate: bool

    @property
    def max_episode_steps(self) -> int | None:
        """Most steps of an episode; None where that is not known."""
        ...

    def begin(self, first_task: int, *, split: Split) -> Tensor:
        """Begin tasks ``first_task … first_task + B - 1`` of a split, one a row.

        The same arguments begin the same tasks, which then answer the same actions in the same way.

        Returns:
            [B, D] float32 first observations.
        """
        ...

    def step(self, action: Tensor, active: Tensor) -> Transition:
        """Take one step in every active row.

        Args:
            action: [B] int64 (discrete), [B, n] int64 (multi-discrete) or [B, n] float32 in [-1, 1] (continuous).
            active: [B] bool; rows whose trial is over are not stepped and repeat their last observation, reward 0.

        Raises:
            WorkerFaultError: the family's worker failed; the trials under way are lost.
        """
        ...

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        """The tasks in the given rows as JSON values, for the record."""
        ...

    def task_parameters(self) -> Tensor:
        """What makes each task what it is, as numbers: for baselines and critics, never for a policy.

        Returns:
            [B, P] float32; P may be 0.
        """
        ...

    def close(self) -> None:
        """Release the worker or the tensors; safe to call twice."""
        ...


@runtime_checkable
class RepeatedTaskBatch(TaskBatch, Protocol):
    """A task batch in which R rows in succession are one task with noise of their own: B/R tasks."""

    rows_per_task: int


def rows_per_task(tasks: TaskBatch) -> int:
    """R; 1 where every row is a task of its own."""
    return tasks.rows_per_task if isinstance(tasks, RepeatedTaskBatch) else 1
