"""RL² without a daemon, with the daemon's training code and default settings.

Shapes: N held-out tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from agent.experiments.costs import processor_seconds_of
from agent.experiments.given_settings import with_settings
from agent.experiments.scores import HeldOutScores, Measure
from agent.experiments.trainable import TASKS_OF_A_SEED, family_as_learned
from agent.learners.config_json import config_to_json
from agent.learners.evaluation.trials import EVALUATION_TASKS, held_out_returns
from agent.learners.registry import RL2
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.training import EagerTraining
from agent.learners.rl2.trials import finished_returns, num_tasks
from agent.policies.version_file import encode_version
from agent.policies.version_header import KnownFamily, VersionHeader
from envs.family import FamilySource, FamilySpec
from envs.limits import WorkerLimits
from envs.registry import open_tasks
from envs.task_batch import TaskBatch


@dataclass(frozen=True)
class RL2Assignment:
    """An assignment of RL² to one family of environments.

    Attributes:
        spec: the family as declared.
        limits: limits of the family's worker, if it has one.
        given: settings that override the daemon's defaults.
        seed: seed of the initial parameters, the actions and the minibatches.
    """

    spec: FamilySpec
    limits: WorkerLimits
    given: tuple[str, ...] = ()
    seed: int = 0

    learner = RL2
    measure = Measure.EPISODE_RETURN

    @property
    def is_tensor_native(self) -> bool:
        """Return whether tasks are stepped as tensors, not by a worker."""
        return self.spec.source is FamilySource.TENSOR

    def describe(self) -> dict[str, Any]:
        """Return everything that determines the course of a run."""
        return {
            "learner": self.learner,
            "family": family_as_learned(self.spec),
            "settings": config_to_json(self.config(1)),
            "seed": self.seed,
        }

    def config(self, planned_updates: int) -> RL2Config:
        """Return the settings for a run of ``planned_updates`` updates."""
        settings: RL2Config = with_settings(RL2Config(anneal_updates=planned_updates), self.given, learner=self.learner)
        return settings

    def begin(self, planned_updates: int) -> RL2Trainee:
        """Return a new trainee."""
        learner = RL2Learner(self.config(planned_updates), device="cpu", seed=self.seed)
        return RL2Trainee(self, learner, next_task=self.seed * TASKS_OF_A_SEED)

    def go_on(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], planned_updates: int) -> RL2Trainee:
        """Return the trainee restored from the tensors and the meta values that it wrote."""
        learner = RL2Learner.from_tensors(self.config(planned_updates), tensors, meta["learner"], device="cpu")
        return RL2Trainee(self, learner, next_task=meta["next_task"])

    def processor_seconds(self) -> float:
        """Return the processor time in seconds of this thread and of the family's worker, if it has one."""
        return processor_seconds_of(self.spec)


class RL2Trainee:
    """A run of RL² on one family.

    Args:
        assignment: family, settings and seed.
        learner: the learner in its present state.
        next_task: index of the next training task.
    """

    def __init__(self, assignment: RL2Assignment, learner: RL2Learner, *, next_task: int) -> None:
        self.assignment = assignment
        self.learner = learner
        self.next_task = next_task
        self._watched: dict[str, float] = {}
        self._training = EagerTraining(learner, assignment.spec.name, self._open_tasks())
        learner.add_family(assignment.spec.name, self._training.tasks.spaces)

    @property
    def num_updates(self) -> int:
        """The number of updates so far."""
        return self.learner.num_updates(self.assignment.spec.name)

    def update(self) -> dict[str, float]:
        """Play a trial batch of the next training tasks and learn from it."""
        trials = self._training.play(self.next_task)
        self.next_task += num_tasks(trials)
        num_epochs = self.learner.config.num_epochs_for(is_tensor_native=self.assignment.is_tensor_native)
        metrics = self._training.learn(trials, num_epochs=num_epochs)
        returns = finished_returns(trials)
        if len(returns):
            self._watched = {"trial return": float(returns.mean())}
        return {**self._watched, **metrics}

    def score(self, num_tasks: int, *, progress: Callable[[int], None]) -> HeldOutScores:
        """Play one trial in each of the first held-out tasks; the scores are the returns of last and first episodes.

        The tasks are played in whole batches; what the last batch has beyond ``num_tasks`` does not count.
        """
        returns = held_out_returns(
            self.learner.policy,
            self._training.tasks,
            first_task=EVALUATION_TASKS,
            num_trials=num_tasks,
            trials_progress=lambda finished: progress(min(finished, num_tasks)),
        )
        return HeldOutScores(
            adapted=returns.episodes[-1, :num_tasks],
            unadapted=returns.episodes[0, :num_tasks],
            beside={"trial_return": returns.trials[:num_tasks]},
        )

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the whole state."""
        return self.learner.to_tensors()

    def to_meta(self) -> dict[str, Any]:
        """Return the rest of the state as JSON values."""
        return {"learner": self.learner.to_meta(), "next_task": self.next_task}

    def export(self, provenance: Mapping[str, Any]) -> bytes:
        """Return the version file of the policy, which `agent.policies.acting.load_policy` loads."""
        spec, spaces = self.assignment.spec, self._training.tasks.spaces
        header = VersionHeader(
            learner=RL2,
            config=config_to_json(self.learner.config),
            families={spec.name: KnownFamily(spaces=spaces, episodes_per_trial=spec.episodes_per_trial)},
            provenance=provenance,
        )
        return encode_version(header, self.learner.initialization())

    def close(self) -> None:
        """End the worker."""
        self._training.close()

    def _open_tasks(self) -> TaskBatch:
        assignment = self.assignment
        num_trials = self.learner.config.num_trials_for(is_tensor_native=assignment.is_tensor_native)
        return open_tasks(assignment.spec, None, num_trials=num_trials, device="cpu", limits=assignment.limits)
