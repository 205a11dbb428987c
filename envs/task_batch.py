"""The interface for stepping B tasks of a family together, as tensors or in a worker.

Shapes: B trials, D observation width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, cast, runtime_checkable

import torch
from jaxtyping import Shaped
from optree.dataclasses import register_node
from torch import Tensor

from envs.family import FamilySpec, Split
from envs.spaces import SpacePair


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class Transition:
    """The results of one step of B tasks.

    When an episode ends, the same task is reset within the step, so there is no dummy step: ``observation`` is always
    the input for the next action. ``final_observation`` is the true last observation of an episode that ended.

    Attributes:
        observation: [B, D] in the type of the family's spaces (:mod:`envs.spaces`), the input for the next action.
        reward: [B] float32.
        terminated: [B] bool, the episode ended in a terminal state.
        truncated: [B] bool, the episode was cut off by a time limit (never both).
        final_observation: [B, D], equal to ``observation`` in rows where no episode ended.
    """

    observation: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    final_observation: Tensor


@runtime_checkable
class TaskBatch(Protocol):
    """A batch of B tasks of one family, one per row.

    Attributes:
        spec: the family.
        spaces: the family's spaces.
        num_trials: B.
        device: device of the tensors.
        may_truncate: whether an episode can be truncated. If not, callers need not look for truncated episodes.
    """

    spec: FamilySpec
    spaces: SpacePair
    num_trials: int
    device: torch.device
    may_truncate: bool

    @property
    def max_episode_steps(self) -> int | None:
        """The largest number of steps of an episode; None if it is unknown."""
        ...

    def begin(self, first_task: int, *, split: Split) -> Tensor:
        """Begin tasks ``first_task … first_task + B - 1`` of a split, one per row.

        The same arguments begin the same tasks, which respond to the same actions in the same way.

        Returns:
            [B, D] first observations.
        """
        ...

    def step(self, action: Tensor, active: Tensor) -> Transition:
        """Take one step in every active row.

        Args:
            action: [B] int64 (discrete), [B, n] int64 (multi-discrete) or [B, n] float32 in [-1, 1] (continuous).
            active: [B] bool, whether the row's trial is running. Other rows are not stepped; they repeat their last
                observation with reward 0.

        Raises:
            WorkerFaultError: the family's worker failed; the running trials are lost.
        """
        ...

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the tasks in the given rows as JSON values, for the record."""
        ...

    def task_parameters(self) -> Tensor:
        """Return the parameters of each task as numbers, for baselines and critics but never for a policy.

        Returns:
            [B, P] float32; P may be 0.
        """
        ...

    def close(self) -> None:
        """Release the worker or the tensors. Calling this again has no effect."""
        ...


@runtime_checkable
class RepeatedTaskBatch(TaskBatch, Protocol):
    """A task batch of B/R tasks. R successive rows are the same task, with different noise."""

    rows_per_task: int


def rows_per_task(tasks: TaskBatch) -> int:
    """Return R, the number of rows per task; 1 if every row is a separate task."""
    return tasks.rows_per_task if isinstance(tasks, RepeatedTaskBatch) else 1


@runtime_checkable
class RecurringTaskBatch(TaskBatch, Protocol):
    """A task batch that can begin any task of its family in any row, and each task several times.

    Attributes:
        recurs: whether the tasks of the family recur: they are practised several times, with the memory of earlier
            trials.
    """

    recurs: bool

    def begin_tasks(self, tasks: Tensor, exposures: Tensor, *, split: Split) -> Tensor:
        """Begin one given task in each row.

        Args:
            tasks: [B] int64 their indices in the split.
            exposures: [B] int64 how often each was begun before. Each exposure of a task has noise of its own, if the
                family has any; exposure 0 has that of :meth:`begin`.
            split: training or held-out tasks.

        Returns:
            [B, D] first observations.
        """
        ...


@runtime_checkable
class RowTaskBatch(TaskBatch, Protocol):
    """A task batch that can begin another task in one row, while the other rows go on with theirs.

    Attributes:
        num_begins: how often all rows were begun; a caller whose tasks are under way sees that another began others.
    """

    num_begins: int

    def begin_row(self, row: int, index: int, *, split: Split) -> Tensor:
        """Begin task ``index`` of a split in one row. All rows must have begun before, by :meth:`begin`.

        Returns:
            [D] first observation of the row.
        """
        ...


@runtime_checkable
class MaskedTaskBatch(TaskBatch, Protocol):
    """A task batch whose environments may say which choices are allowed (action masks)."""

    def allowed_choices(self) -> Tensor | None:
        """Return which choices the next actions may take, [B, C] bool on the device; None if all are allowed.

        C is the number of choices, summed over the dimensions of choices.
        """
        ...


def allowed_choices(tasks: TaskBatch) -> Tensor | None:
    """Return which choices the next actions may take, [B, C]; None if all are allowed."""
    return tasks.allowed_choices() if isinstance(tasks, MaskedTaskBatch) else None


def recurs(tasks: TaskBatch) -> TypeGuard[RecurringTaskBatch]:
    """Return whether the tasks of the family recur."""
    return isinstance(tasks, RecurringTaskBatch) and tasks.recurs


def begin_exposure(
    tasks: TaskBatch, first_task: int | Tensor, *, split: Split, exposure: int | Tensor = 0
) -> Shaped[Tensor, "B D"]:
    """Begin B tasks that were played ``exposure`` times before; where noise cannot be redrawn, it repeats.

    Args:
        tasks: a batch of the family.
        first_task: index of the first task. For tasks that recur also [B] int64, the index of each row's task.
        split: training or held-out tasks.
        exposure: a number, or [B] int64 numbers.
    """
    is_given = isinstance(first_task, Tensor) and first_task.dim() == 1
    if not recurs(tasks) or not (is_given or isinstance(exposure, Tensor) or exposure):
        return tasks.begin(cast("int", first_task), split=split)  # Only families that accept a tensor are given one.
    rows = torch.arange(tasks.num_trials, device=tasks.device)
    indices = first_task if is_given else first_task + rows // rows_per_task(tasks)
    return tasks.begin_tasks(cast("Tensor", indices), torch.zeros_like(rows) + exposure, split=split)


@runtime_checkable
class ContextTaskBatch(TaskBatch, Protocol):
    """A task batch whose environments may say which task they play (``info["context"]`` of a reset)."""

    def context_digests(self, rows: list[int]) -> list[bytes | None]:
        """Return a digest for each of the given rows: equal for equal contexts, None for a task without one."""
        ...


def given_contexts(tasks: TaskBatch, rows: list[int]) -> list[bytes | None]:
    """Return the digests of the contexts that the environments give; None for each row without one."""
    return tasks.context_digests(rows) if isinstance(tasks, ContextTaskBatch) else [None] * len(rows)
