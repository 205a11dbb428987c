"""Learners that adapt policies by policy gradient, without a daemon.

Shapes: M tasks, N held-out tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from agent.experiments.costs import processor_seconds_of
from agent.experiments.given_settings import with_settings
from agent.experiments.scores import HeldOutScores, Measure
from agent.experiments.trainable import TASKS_OF_A_SEED, family_as_learned
from agent.learners.config_json import config_to_json
from agent.learners.factory import build_policy_learner, restore_policy_learner
from agent.learners.policy_gradient.episodes import Play
from agent.learners.policy_gradient.loops import episodes_to_adapt, returns_of_adapting
from agent.learners.policy_gradient.protocol import PolicyLearner
from agent.learners.registry import LearnerEntry, acting_learners
from agent.policies.version_file import encode_version
from agent.policies.version_header import KnownFamily, VersionHeader
from envs.family import FamilySource, FamilySpec, Split
from envs.limits import WorkerLimits
from envs.registry import open_tasks
from envs.task_batch import TaskBatch

TASKS_PER_UPDATE = 20
TASKS_AT_ONCE = 20
SCORING_SEED = 20_170_303


@dataclass(frozen=True)
class PolicyCase:
    """An assignment of a learner that adapts policies to one family of environments.

    Attributes:
        learner: the learner's name: a key of ``acting_learners()``.
        spec: the family as declared.
        limits: limits of the family's worker, if it has one.
        given: settings that override the learner's defaults.
        seed: seed of the initial parameters, the actions and the training tasks.
    """

    learner: str
    spec: FamilySpec
    limits: WorkerLimits
    given: tuple[str, ...] = ()
    seed: int = 0

    measure = Measure.EPISODE_RETURN

    @property
    def entry(self) -> LearnerEntry:
        """The learner's entry in the registry."""
        return acting_learners()[self.learner]

    def describe(self) -> dict[str, Any]:
        """Return everything that determines the course of a run."""
        return {
            "learner": self.learner,
            "family": family_as_learned(self.spec),
            "settings": config_to_json(self.config(1)),
            "tasks_per_update": TASKS_PER_UPDATE,
            "seed": self.seed,
        }

    def config(self, planned_updates: int) -> Any:
        """Return the settings for a run of ``planned_updates`` updates."""
        config_class = self.entry.load_config()
        return with_settings(config_class(decay_updates=planned_updates), self.given, learner=self.learner)

    def open_tasks(self, num_tasks: int) -> TaskBatch:
        """Open M tasks. A task of a tensor family has as many rows as a round has episodes, any other task has one."""
        is_tensor_native = self.spec.source is FamilySource.TENSOR
        rows = self.config(1).round.num_episodes if is_tensor_native else 1
        return open_tasks(
            self.spec, None, num_trials=num_tasks * rows, device="cpu", limits=self.limits, rows_per_task=rows
        )

    def begin(self, planned_updates: int) -> TrainablePolicyLearner:
        """Return a new trainee."""
        tasks = self.open_tasks(TASKS_PER_UPDATE)
        generator = torch.Generator().manual_seed(self.seed)
        config = self.config(planned_updates)
        learner = build_policy_learner(self.entry.name, tasks.spaces, config, generator=generator)
        return TrainablePolicyLearner(self, learner, tasks, next_task=self.seed * TASKS_OF_A_SEED)

    def go_on(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], planned_updates: int
    ) -> TrainablePolicyLearner:
        """Return the trainee restored from the tensors and the meta values that it wrote."""
        config = config_to_json(self.config(planned_updates))
        learner = restore_policy_learner(tensors, {**meta["learner"], "config": config})
        return TrainablePolicyLearner(self, learner, self.open_tasks(TASKS_PER_UPDATE), next_task=meta["next_task"])

    def processor_seconds(self) -> float:
        """Return the processor time in seconds of this thread and of the family's worker, if it has one."""
        return processor_seconds_of(self.spec)


class TrainablePolicyLearner:
    """A run of a learner that adapts policies.

    Args:
        assignment: learner, family, settings and seed.
        learner: the learner in its present state.
        tasks: the batch of training tasks; it is closed with the trainee.
        next_task: index of the next training task.
    """

    def __init__(self, assignment: PolicyCase, learner: PolicyLearner, tasks: TaskBatch, *, next_task: int) -> None:
        self.assignment = assignment
        self.learner = learner
        self.next_task = next_task
        self._tasks = tasks

    @property
    def num_updates(self) -> int:
        """The number of outer steps taken."""
        return self.learner.num_updates

    def update(self) -> dict[str, float]:
        """Take one outer step on the next training tasks."""
        metrics = self.learner.update(self._tasks, first_task=self.next_task)
        self.next_task += TASKS_PER_UPDATE
        return {"return": metrics["return"], **metrics}

    def score(self, num_tasks: int, *, progress: Callable[[int], None]) -> HeldOutScores:
        """Return the mean episode return in each held-out task, before and after ``steps_to_adapt`` rounds."""
        generator = torch.Generator().manual_seed(SCORING_SEED)
        adapted, unadapted = [], []
        tasks = self.assignment.open_tasks(TASKS_AT_ONCE)
        try:
            for first in range(0, num_tasks, TASKS_AT_ONCE):
                before, after = self._returns(tasks, first, generator)
                unadapted.append(before)
                adapted.append(after)
                progress(min(first + TASKS_AT_ONCE, num_tasks))
        finally:
            tasks.close()
        return HeldOutScores(adapted=torch.cat(adapted)[:num_tasks], unadapted=torch.cat(unadapted)[:num_tasks])

    def _returns(
        self, tasks: TaskBatch, first_task: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
        num_episodes = self.assignment.config(1).round.num_episodes
        play = Play(tasks, first_task=first_task, split=Split.HELD_OUT, num_episodes=num_episodes)
        return returns_of_adapting(self.learner, play, generator=generator)

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the whole state."""
        return self.learner.to_tensors()

    def to_meta(self) -> dict[str, Any]:
        """Return the rest of the state as JSON values."""
        return {"learner": self.learner.to_meta(), "next_task": self.next_task}

    def export(self, provenance: Mapping[str, Any]) -> bytes:
        """Return the version file of the initialization, which `agent.policies.acting.load_policy` loads."""
        episodes = episodes_to_adapt(self.learner.config)
        known = KnownFamily(spaces=self.learner.spaces, episodes_per_trial=episodes)
        header = VersionHeader(
            learner=self.assignment.entry.name,
            config=self.learner.to_meta()["config"],
            families={self.assignment.spec.name: known},
            provenance=provenance,
        )
        return encode_version(header, self.learner.initialization())

    def close(self) -> None:
        """Release the tasks."""
        self._tasks.close()
