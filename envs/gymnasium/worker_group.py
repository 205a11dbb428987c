"""A batch of tasks in several worker processes, for environments of which one process can hold few copies.

The processes step at the same time. Their rows follow each other: those of the first process, then those of the next.

Shapes: B trials in all processes together, D observation width, C choices, P task parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from envs.errors import WorkerFaultError
from envs.family import FamilySpec, Split
from envs.gymnasium.batch import WorkerTaskBatch
from envs.limits import WorkerLimits
from envs.pace import Pace
from envs.task_batch import Transition

NICE = 10
"""Niceness of the processes of a group, in addition to that of a single worker: together they could take every core."""


def open_worker_tasks(
    spec: FamilySpec,
    *,
    num_trials: int,
    device: torch.device | str,
    limits: WorkerLimits | None = None,
    on_wait: Callable[[], None] | None = None,
) -> WorkerTaskBatch | WorkerGroup:
    """Open the tasks of a family in a worker, or in several if a process can hold only some of the copies.

    A further process that fails to begin a task, for example because the environment needs a port that another copy
    uses, is left out, and so are those after it.

    Args:
        spec: the family.
        num_trials: B at most.
        device: the device of the returned observations and rewards.
        limits: limits of one worker, and the number of processes.
        on_wait: called repeatedly while a worker works; an exception from it ends the wait.

    Raises:
        FamilySpecError: the description does not fit the environment.
        UnsupportedSpaceError: no encoder or head exists for a space.
        WorkerFaultError: the first worker did not start.
    """
    limits = limits or WorkerLimits()
    num_processes = min(limits.num_processes, limits.max_processes, math.ceil(num_trials / (spec.copies or num_trials)))
    if num_processes <= 1:
        return WorkerTaskBatch(spec, num_trials=num_trials, device=device, limits=limits, on_wait=on_wait)
    limits = replace(limits, nice=limits.nice + NICE)
    workers: list[WorkerTaskBatch] = []
    try:
        for _ in range(num_processes):
            rows = min(spec.copies, num_trials - sum(worker.num_trials for worker in workers))
            workers.append(_opened(spec, num_trials=rows, device=device, limits=limits, on_wait=on_wait))
    except WorkerFaultError:
        if not workers:
            raise
    except BaseException:
        for worker in workers:
            worker.close()
        raise
    return WorkerGroup(workers)


def _opened(spec: FamilySpec, **options: Any) -> WorkerTaskBatch:
    """Return a worker that has begun tasks.

    Raises:
        WorkerFaultError: it failed; it is closed.
    """
    worker = WorkerTaskBatch(spec, **options)
    try:
        worker.begin(0, split=Split.TRAINING)
    except BaseException:
        worker.close()
        raise
    return worker


class WorkerGroup:
    """A batch of B tasks of a family in several worker processes.

    Args:
        workers: the batches of the processes; the group closes them.
    """

    def __init__(self, workers: list[WorkerTaskBatch]) -> None:
        first = workers[0]
        self._workers = workers
        self.spec, self.spaces, self.device = first.spec, first.spaces, first.device
        self.num_trials = sum(worker.num_trials for worker in workers)
        self.may_truncate = True
        self.num_begins = 0
        self.recurs = first.recurs

    @property
    def max_episode_steps(self) -> int | None:
        """The largest number of steps of an episode; None if it is unknown."""
        return self._workers[0].max_episode_steps

    @property
    def pace(self) -> Pace:
        """The usual speed of the environment, as far as one of the processes knows it."""
        paces = [worker.pace for worker in self._workers]
        return replace(
            paces[0],
            longest_step_s=max((p.longest_step_s for p in paces if p.longest_step_s is not None), default=None),
            longest_reset_s=max((p.longest_reset_s for p in paces if p.longest_reset_s is not None), default=None),
        )

    def begin(self, first_task: int, *, split: Split) -> Tensor:
        """Begin tasks ``first_task … first_task + B - 1`` of a split, one per row; return the first observations."""
        rows = torch.arange(self.num_trials)
        return self.begin_tasks(first_task + rows, torch.zeros_like(rows), split=split)

    def begin_tasks(self, tasks: Tensor, exposures: Tensor, *, split: Split) -> Tensor:
        """Begin one given task in each row; see :class:`envs.task_batch.RecurringTaskBatch`."""
        self.num_begins += 1
        for worker, rows in self._parts():
            worker.start_tasks(tasks[rows], exposures[rows], split=split)
        return torch.cat([worker.await_tasks() for worker in self._workers])

    def begin_row(self, row: int, index: int, *, split: Split) -> Tensor:
        """Begin task ``index`` of a split in one row, while the other rows go on with theirs."""
        worker, inner = self._of(row)
        return worker.begin_row(inner, index, split=split)

    def step(self, action: Tensor, active: Tensor) -> Transition:
        """Take one step in every active row, in all processes at the same time."""
        self.step_begin(action, active)
        return self.step_end()

    def step_begin(self, action: Tensor, active: Tensor) -> None:
        """Send the actions to the workers and return at once. A call of :meth:`step_end` must follow."""
        for worker, rows in self._parts():
            worker.step_begin(action[rows], active[rows])

    def step_end(self) -> Transition:
        """Wait for the step that :meth:`step_begin` started, and return its result."""
        parts = [worker.step_end() for worker in self._workers]
        return Transition(
            observation=torch.cat([part.observation for part in parts]),
            reward=torch.cat([part.reward for part in parts]),
            terminated=torch.cat([part.terminated for part in parts]),
            truncated=torch.cat([part.truncated for part in parts]),
            final_observation=torch.cat([part.final_observation for part in parts]),
        )

    def allowed_choices(self) -> Tensor | None:
        """Return which choices the next actions may take, [B, C] bool; None if no environment gave an action mask."""
        parts = [worker.allowed_choices() for worker in self._workers]
        if all(part is None for part in parts):
            return None
        num_choices = self.spaces.action.num_choices
        return torch.cat(
            [
                torch.ones(worker.num_trials, num_choices, dtype=torch.bool, device=self.device)
                if part is None
                else part
                for worker, part in zip(self._workers, parts, strict=True)
            ]
        )

    def task_parameters(self) -> Tensor:
        """Return the drawn values of the variations as numbers, [B, P] float32."""
        return torch.cat([worker.task_parameters() for worker in self._workers])

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the tasks in the given rows as JSON values, for the stored trials."""
        return [worker.describe_tasks([inner])[0] for worker, inner in map(self._of, rows)]

    def context_digests(self, rows: list[int]) -> list[bytes | None]:
        """Return the digests of ``info["context"]`` of the tasks in the given rows."""
        return [worker.context_digests([inner])[0] for worker, inner in map(self._of, rows)]

    def close(self) -> None:
        """End all workers; safe to call twice."""
        for worker in self._workers:
            worker.close()

    def _parts(self) -> Iterator[tuple[WorkerTaskBatch, slice]]:
        """Yield each worker with its rows of the group."""
        begin = 0
        for worker in self._workers:
            yield worker, slice(begin, begin + worker.num_trials)
            begin += worker.num_trials

    def _of(self, row: int) -> tuple[WorkerTaskBatch, int]:
        """Return the worker of a row, and the row's index in it."""
        for worker in self._workers:
            if row < worker.num_trials:
                return worker, row
            row -= worker.num_trials
        raise IndexError("the group has no such row")
