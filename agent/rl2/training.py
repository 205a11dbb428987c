"""Training on one family: a trial batch is played, then learned from.

As Python runs it, or recorded once and replayed (:mod:`agent.rl2.capture`): on an accelerator a small batch takes as
long as Python takes to start its operations, and a recording starts them all at once. The numbers are the same but for
the order in which actions' noise is drawn: a recorded rollout goes on drawing after the last trial is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agent.rl2.capture import CapturedMinibatchStep, CapturedRollout, CaptureSpace
from agent.rl2.learner import RL2Learner
from agent.rl2.rollout import collect_trials
from agent.rl2.trials import TrialBatch
from envs.family import FamilySource, Split
from envs.task_batch import TaskBatch

MAX_RECORDED_STEPS = 1024
"""T of the longest trials that are recorded: a step of a rollout is some hundred operations of a recording."""


class FamilyTraining(Protocol):
    """Plays a family's training tasks and learns from what was played.

    Attributes:
        tasks: B tasks, those of the last trial batch.
    """

    tasks: TaskBatch

    def play(self, first_task: int, *, progress: Callable[[int], None] | None = None) -> TrialBatch:
        """Play one trial in each of the tasks from ``first_task``, of as many episodes as the learner is at.

        Args:
            first_task: index of the first in the training split.
            progress: as for :func:`agent.rl2.rollout.collect_trials`.

        Returns:
            The trials. They hold until the next call.
        """
        ...

    def learn(self, trials: TrialBatch, *, num_epochs: int | None = None) -> dict[str, float]:
        """Improve the policy by them: :meth:`agent.rl2.learner.RL2Learner.update`."""
        ...

    def close(self) -> None:
        """Release the tasks; safe to call twice."""
        ...


class EagerTraining:
    """Training as Python runs it.

    Args:
        learner: who learns.
        name: the family, as it was added.
        tasks: its tasks.
    """

    def __init__(self, learner: RL2Learner, name: str, tasks: TaskBatch) -> None:
        self._learner, self._name, self.tasks = learner, name, tasks

    def play(self, first_task: int, *, progress: Callable[[int], None] | None = None) -> TrialBatch:
        """One trial in each of the tasks."""
        return collect_trials(
            self._learner.policy,
            self.tasks,
            first_task=first_task,
            split=Split.TRAINING,
            generator=self._learner.generator,
            num_episodes=self._learner.num_episodes(self._name, self.tasks.spec.episodes_per_trial),
            progress=progress,
        )

    def learn(self, trials: TrialBatch, *, num_epochs: int | None = None) -> dict[str, float]:
        """One update."""
        return self._learner.update(self._name, trials, num_epochs=num_epochs)

    def close(self) -> None:
        """Release the tasks."""
        self.tasks.close()


@dataclass(frozen=True, kw_only=True)
class _Recording:
    """The programs for trials of one number of episodes."""

    num_episodes: int
    rollout: CapturedRollout
    step: CapturedMinibatchStep

    def release(self) -> None:
        """Let go of them."""
        self.rollout.release()
        self.step.release()


class RecordedTraining:
    """Training as it was recorded: rollouts in one space of memory, for their trials are learned from in the other.

    When trials grow, what was recorded of shorter ones is given up. It holds for the learner's parameters and optimiser
    as they stand: make another after ``load_initialization``.

    Args:
        learner: who learns.
        name: the family, as it was added.
        tasks: its tasks. No one else may begin them: a recording goes on with those it was made with.
    """

    def __init__(self, learner: RL2Learner, name: str, tasks: TaskBatch) -> None:
        self._learner, self._name, self.tasks = learner, name, tasks
        self._rollout_space, self._step_space = CaptureSpace(tasks.device), CaptureSpace(tasks.device)
        self._recording: _Recording | None = None

    def play(self, first_task: int, *, progress: Callable[[int], None] | None = None) -> TrialBatch:
        """One trial in each of the tasks; progress is asked before they begin: the last ones hold if it raises."""
        if progress is not None:
            progress(0)
        return self._recorded().rollout.collect(first_task)

    def learn(self, trials: TrialBatch, *, num_epochs: int | None = None) -> dict[str, float]:
        """One update."""
        return self._learner.update(self._name, trials, num_epochs=num_epochs, minibatch_step=self._recorded().step)

    def close(self) -> None:
        """Release the tasks and what was recorded."""
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
    """Whether recording these tasks' training is possible and pays: tensors, on an accelerator, no endless trials."""
    if tasks.device.type != "cuda" or tasks.spec.source is not FamilySource.TENSOR or tasks.max_episode_steps is None:
        return False
    return tasks.max_episode_steps * tasks.spec.episodes_per_trial <= MAX_RECORDED_STEPS
