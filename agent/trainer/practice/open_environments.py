"""The open tasks of families of environments, and the trainings that use them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

import structlog
import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.recurring_training import RecurringTraining
from agent.learners.rl2.training import EagerTraining, FamilyTraining, RecordedTraining, can_be_recorded
from agent.learners.rl2.training_rollouts import TrainingRollouts
from agent.trainer.families import is_tensor_native, learner_name, spaces_of
from envs.family import FamilySpec
from envs.limits import WorkerLimits
from envs.pace import UNKNOWN_PACE, Pace
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch, recurs
from memory.records import Family

log = structlog.get_logger(__name__)


class TaskOpener(Protocol):
    """A function that opens a family's tasks; tests pass fakes."""

    def __call__(
        self,
        spec: FamilySpec,
        spaces: SpacePair,
        *,
        num_trials: int,
        device: torch.device,
        limits: WorkerLimits,
        on_wait: Callable[[], None],
    ) -> TaskBatch:
        """Open ``num_trials`` tasks as one batch; call ``on_wait`` repeatedly while waiting for a worker."""
        ...


class OpenEnvironments:
    """The tasks of families of environments, opened at their first use and kept open, and their trainings.

    Args:
        opener: opens a family's tasks.
        config: RL²'s settings, which have the numbers of trials that are played side by side.
        device: the device of rollouts and updates.
        limits: the limits of workers.
        on_wait: called with the family repeatedly while its worker is awaited.
        before_open: called with a family before its tasks are opened; it raises if they must not be.
    """

    def __init__(
        self,
        *,
        opener: TaskOpener,
        config: RL2Config,
        device: torch.device,
        limits: WorkerLimits,
        on_wait: Callable[[Family], None],
        before_open: Callable[[Family], None] = lambda _: None,
    ) -> None:
        self._before_open = before_open
        self._opener = opener
        self._config = config
        self._device = device
        self._limits = limits
        self._on_wait = on_wait
        self._tasks: dict[int, TaskBatch] = {}
        self._trainings: dict[int, FamilyTraining] = {}
        self._rollouts: dict[int, TrainingRollouts] = {}
        self._paces: dict[int, Pace] = {}

    @property
    def open_families(self) -> set[int]:
        """The ids of the families whose tasks are open."""
        return set(self._tasks)

    def tasks_of(self, family: Family) -> TaskBatch:
        """Return the family's tasks. They are opened at the first call and kept open."""
        if family.id not in self._tasks:
            self._tasks[family.id] = self._open(family)
        return self._tasks[family.id]

    def rollouts_of(self, family: Family) -> TrainingRollouts:
        """Return the training rollouts of a family's tasks. Trials that are under way go on with the next rollout."""
        tasks = self.tasks_of(family)
        if family.id not in self._rollouts or self._rollouts[family.id].tasks is not tasks:
            self._rollouts[family.id] = TrainingRollouts(tasks)
        return self._rollouts[family.id]

    def begin_training(self, family: Family, learner: RL2Learner) -> FamilyTraining:
        """Return the family's training, which is kept until it is closed.

        Recorded training opens its own tasks, because evaluation begins other tasks in those of :meth:`tasks_of`.
        Training on tasks that recur begins a series with each call, so that a resumed trainer continues identically.

        Args:
            family: an admitted family.
            learner: the learner to train, to which the family was added; trainings by an earlier learner must have been
                closed.
        """
        if family.id not in self._trainings:
            self._trainings[family.id] = self._new_training(family, learner)
        training = self._trainings[family.id]
        if isinstance(training, RecurringTraining):
            training.begin_series()
        return training

    def changed_pace(self, family: Family, *, steps_per_s: float) -> Pace | None:
        """Return the usual speed of a family's environment if it differs notably from the one recorded.

        The workers that are opened later begin with it. Families that are stepped as tensors have none.

        Args:
            family: a family whose tasks are open.
            steps_per_s: environment steps per second of the last rollouts.
        """
        observed = getattr(self._tasks.get(family.id), "pace", None)
        if not isinstance(observed, Pace):
            return None
        pace = replace(observed, steps_per_s=steps_per_s)
        if not pace.differs(self._pace_of(family)):
            return None
        self._paces[family.id] = pace
        return pace

    def close_trainings(self) -> None:
        """Close all trainings, because their learner is replaced; tasks that evaluation also uses stay open.

        Trials under way are dropped.
        """
        self._rollouts.clear()
        for family_id in list(self._trainings):
            self.close_training(family_id)

    def close_tasks(self, family_id: int) -> None:
        """Close a family's tasks and its training."""
        self.close_training(family_id)
        self._rollouts.pop(family_id, None)
        tasks = self._tasks.pop(family_id, None)
        if tasks is not None:
            tasks.close()

    def close(self) -> None:
        """Close all workers in parallel, because each may need a second to close its environments."""
        self.close_trainings()
        open_tasks, self._tasks = self._tasks, {}
        with ThreadPoolExecutor(max_workers=max(1, len(open_tasks))) as pool:
            closings = [pool.submit(tasks.close) for tasks in open_tasks.values()]
        for error in filter(None, (closing.exception() for closing in closings)):
            log.error("tasks of a family could not be closed", exc_info=error)

    def _pace_of(self, family: Family) -> Pace:
        """Return the usual speed of a family's environment, as far as it is known."""
        return self._paces.get(family.id) or family.pace or UNKNOWN_PACE

    def close_training(self, family_id: int) -> None:
        """Close a family's training, because another learner plays it from here on; its tasks stay open."""
        training = self._trainings.pop(family_id, None)
        if training is not None and training.tasks is not self._tasks.get(family_id):
            training.close()

    def _new_training(self, family: Family, learner: RL2Learner) -> FamilyTraining:
        name, tasks = learner_name(family), self.tasks_of(family)
        if recurs(tasks):
            return RecurringTraining(learner, name, tasks)
        if can_be_recorded(tasks):
            return RecordedTraining(learner, name, self._open(family))
        return EagerTraining(learner, name, tasks)

    def _open(self, family: Family) -> TaskBatch:
        self._before_open(family)
        return self._opener(
            family.require_spec(),
            spaces_of(family),
            num_trials=self._config.num_trials_for(is_tensor_native=is_tensor_native(family)),
            device=self._device,
            limits=replace(self._limits, pace=self._pace_of(family)),
            on_wait=lambda: self._on_wait(family),
        )
