"""Training on one family: play a trial batch, then learn from it.

Two implementations exist. :class:`EagerTraining` runs as ordinary Python. :class:`RecordedTraining` records the
operations once as CUDA graphs and replays them (:mod:`agent.learners.rl2.cuda_graphs`): for a small batch on an
accelerator, launching the operations from Python takes as long as running them, and a replay launches them all at
once. Both give the same numbers except for the order in which action noise is drawn: a recorded rollout continues to
draw after the last trial has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from agent.learners.rl2.cuda_graphs import CapturedMinibatchStep, CapturedRollout, CaptureSpace
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.training_rollouts import TrainingRollouts, plan_rollout
from agent.learners.rl2.trials import TrialBatch
from envs.family import FamilySource
from envs.task_batch import TaskBatch

MAX_RECORDED_STEPS = 1024
"""Largest T of trials that are recorded. A rollout step adds about a hundred operations to a recording."""


@runtime_checkable
class FamilyTraining(Protocol):
    """An object that plays a family's training tasks and learns from the trials.

    Attributes:
        tasks: B tasks, those of the last trial batch.
    """

    tasks: TaskBatch

    def play(self, first_task: int, *, progress: Callable[[int], None] | None = None) -> TrialBatch:
        """Play one trial in each of the tasks from ``first_task``, with the learner's current number of episodes.

        Args:
            first_task: index of the first task in the training split.
            progress: see :func:`agent.learners.rl2.rollout.collect_trials`.

        Returns:
            The trials, valid until the next call.
        """
        ...

    def learn(
        self,
        trials: TrialBatch,
        *,
        num_epochs: int | None = None,
        after_minibatch: Callable[[int], None] | None = None,
    ) -> dict[str, float]:
        """Improve the policy by these trials: :meth:`agent.learners.rl2.learner.RL2Learner.update`."""
        ...

    def close(self) -> None:
        """Release the tasks; safe to call twice."""
        ...


class EagerTraining:
    """Training by ordinary Python calls, without recording.

    Args:
        learner: the learner to train.
        name: the family's name, as added to the learner.
        tasks: the family's tasks.
    """

    def __init__(self, learner: RL2Learner, name: str, tasks: TaskBatch) -> None:
        self._learner, self._name, self.tasks = learner, name, tasks
        self._rollouts = TrainingRollouts(tasks)

    def play(self, first_task: int, *, progress: Callable[[int], None] | None = None) -> TrialBatch:
        """Play one trial in each of the tasks, or the next segment of long trials."""
        learner = self._learner
        episodes_per_trial = self.tasks.spec.episodes_per_trial
        plan = plan_rollout(learner, self._name, first_task=first_task, episodes_per_trial=episodes_per_trial)
        return self._rollouts.play(learner.policy, plan, generator=learner.generator, progress=progress)

    def learn(
        self,
        trials: TrialBatch,
        *,
        num_epochs: int | None = None,
        after_minibatch: Callable[[int], None] | None = None,
    ) -> dict[str, float]:
        """Run one update."""
        return self._learner.update(self._name, trials, num_epochs=num_epochs, after_minibatch=after_minibatch)

    def close(self) -> None:
        """Release the tasks."""
        self.tasks.close()


@dataclass(frozen=True, kw_only=True)
class _Recording:
    """The recorded programs for trials of one number of episodes."""

    num_episodes: int
    rollout: CapturedRollout
    step: CapturedMinibatchStep

    def release(self) -> None:
        """Release the programs."""
        self.rollout.release()
        self.step.release()


class RecordedTraining:
    """Training by recorded programs.

    Rollouts and minibatch steps use two capture spaces, because the trials of a rollout must stay valid while minibatch
    steps run. When the number of episodes per trial grows, the recordings of shorter trials are released. A recording
    is bound to the learner's current parameter tensors and optimiser: create another instance after
    ``load_initialization``.

    Args:
        learner: the learner to train.
        name: the family's name, as added to the learner.
        tasks: the family's tasks. Nothing else may begin them, because a recording is bound to their state.
    """

    def __init__(self, learner: RL2Learner, name: str, tasks: TaskBatch) -> None:
        self._learner, self._name, self.tasks = learner, name, tasks
        self._rollout_space, self._step_space = CaptureSpace(tasks.device), CaptureSpace(tasks.device)
        self._recording: _Recording | None = None

    def play(self, first_task: int, *, progress: Callable[[int], None] | None = None) -> TrialBatch:
        """Play one trial in each of the tasks.

        ``progress`` is called before the trials begin; if it raises, the previous trials stay valid.
        """
        if progress is not None:
            progress(0)
        return self._recorded().rollout.collect(first_task)

    def learn(
        self,
        trials: TrialBatch,
        *,
        num_epochs: int | None = None,
        after_minibatch: Callable[[int], None] | None = None,
    ) -> dict[str, float]:
        """Run one update."""
        return self._learner.update(
            self._name,
            trials,
            num_epochs=num_epochs,
            minibatch_step=self._recorded().step,
            after_minibatch=after_minibatch,
        )

    def close(self) -> None:
        """Release the tasks and the recordings."""
        self._give_up()
        self.tasks.close()

    def _give_up(self) -> None:
        if self._recording is not None:
            self._recording.release()
        self._recording = None

    def _recorded(self) -> _Recording:
        num_episodes = self._learner.num_episodes(self._name, self.tasks.spec.episodes_per_trial)
        if self._recording is None or self._recording.num_episodes != num_episodes:
            self._give_up()
            rollout = CapturedRollout(
                self._learner.policy,
                self.tasks,
                generator=self._learner.generator,
                space=self._rollout_space,
                num_episodes=num_episodes,
            )
            step = CapturedMinibatchStep(self._learner, num_steps=rollout.num_steps, space=self._step_space)
            self._recording = _Recording(num_episodes=num_episodes, rollout=rollout, step=step)
        return self._recording


def can_be_recorded(tasks: TaskBatch) -> bool:
    """Return whether recording is possible and worthwhile: tensor tasks on CUDA, with a known, short trial length."""
    if tasks.device.type != "cuda" or tasks.spec.source is not FamilySource.TENSOR or tasks.max_episode_steps is None:
        return False
    return tasks.max_episode_steps * tasks.spec.episodes_per_trial <= MAX_RECORDED_STEPS
