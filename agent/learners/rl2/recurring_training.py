"""Training on tasks that recur: the same tasks are played several times, with the memory of their earlier trials.

A round plays the same B tasks 1, 2, 4 or 8 times. Its first trials begin empty, the others with what the earlier ones
left (:mod:`agent.learners.rl2.reinstatement`). In the last trials of some rounds the recalled memory is uncertain: each
row is given a likeness, and with one minus this probability the memory of another task. A policy trained on this uses a
recall in proportion to its likeness, and does not rely on one that its first steps contradict. Every batch of trials is
learned from.

Shapes: B trials, Q features of a recall.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.reinstatement import Reinstated, recall_features
from agent.learners.rl2.rollout import Rollout, play_out
from agent.learners.rl2.trials import TrialBatch
from envs.family import Split
from envs.task_batch import TaskBatch

NUM_EXPOSURES = (1, 2, 4, 8)
"""The usual numbers of trial batches of a round."""

UNCERTAIN_SHARE = 0.75
"""Share of the rounds of several trials whose last trials have an uncertain recall."""

DECEIVED_SHARE = 0.5
"""Share of the rows of an uncertain recall that have likeness 1 although every second memory is another task's."""


@dataclass(kw_only=True)
class _Round:
    """A round in progress.

    Attributes:
        first_task: index of the first task.
        num_exposures: trial batches of the round.
        is_uncertain: whether the recall of the last trials is uncertain.
        num_played: trial batches played.
        left: what the last trials left, recalled as the same tasks'.
    """

    first_task: int
    num_exposures: int
    is_uncertain: bool
    num_played: int = 0
    left: Reinstated | None = None


class RecurringTraining:
    """Training on tasks that recur.

    Args:
        learner: the learner to train.
        name: the family's name, as added to the learner.
        tasks: the family's tasks.
        exposures: the possible numbers of trial batches of a round; equally frequent.
    """

    def __init__(
        self, learner: RL2Learner, name: str, tasks: TaskBatch, *, exposures: Sequence[int] = NUM_EXPOSURES
    ) -> None:
        self._learner, self._name, self.tasks = learner, name, tasks
        self._exposures = tuple(exposures)
        self._round: _Round | None = None

    def play(self, first_task: int, *, progress: Callable[[int], None] | None = None) -> TrialBatch:
        """Play the next trials of the round, or begin a round with the tasks from ``first_task``."""
        current = self._round
        if current is None or current.num_played == current.num_exposures:
            current = self._new_round(first_task)
        rollout = Rollout(
            self._learner.policy,
            self.tasks,
            first_task=current.first_task,
            split=Split.TRAINING,
            generator=self._learner.generator,
            num_episodes=self._learner.num_episodes(self._name, self.tasks.spec.episodes_per_trial),
            reinstated=self._recalled(current),
            exposure=current.num_played,
            leaves_behind=True,
        )
        trials = play_out(self._learner.policy, rollout, may_pack=False, progress=progress)
        current.num_played += 1
        current.left = rollout.left_behind(self._features(torch.ones(self.tasks.num_trials), current.num_played))
        self._round = current
        return trials

    def learn(
        self,
        trials: TrialBatch,
        *,
        num_epochs: int | None = None,
        after_minibatch: Callable[[int], None] | None = None,
    ) -> dict[str, float]:
        """Run one update."""
        return self._learner.update(self._name, trials, num_epochs=num_epochs, after_minibatch=after_minibatch)

    @property
    def is_amid_round(self) -> bool:
        """Return whether the tasks of the last trials are to be played again."""
        return self._round is not None and self._round.num_played < self._round.num_exposures

    def begin_round(self) -> None:
        """Begin a round with the next trials, so that what follows depends on no trials before."""
        self._round = None

    def close(self) -> None:
        """Release the tasks."""
        self.tasks.close()

    def _new_round(self, first_task: int) -> _Round:
        draws = torch.rand(2, generator=self._learner.generator, device=self._learner.device).tolist()
        return _Round(
            first_task=first_task,
            num_exposures=self._exposures[int(draws[0] * len(self._exposures))],
            is_uncertain=draws[1] < UNCERTAIN_SHARE,
        )

    def _recalled(self, current: _Round) -> Reinstated | None:
        """Return what the next trials of a round begin with."""
        is_last = current.num_played == current.num_exposures - 1
        if current.left is None or not (is_last and current.is_uncertain):
            return current.left
        num_trials, device = self.tasks.num_trials, self._learner.device
        likeness, chance, deceived = torch.rand(3, num_trials, generator=self._learner.generator, device=device)
        is_deceived = deceived < DECEIVED_SHARE
        is_right = chance < torch.where(is_deceived, 0.5, likeness)
        own = torch.arange(num_trials, device=device)
        rows = torch.where(is_right, own, own.roll(1))
        features = self._features(likeness.masked_fill(is_deceived, 1.0), current.num_played)
        return current.left.select(rows, features)

    def _features(self, likeness: Tensor, num_exposures: int) -> Tensor:
        likeness = likeness.to(self._learner.device)
        return recall_features(
            likeness=likeness,
            num_exposures=torch.full_like(likeness, num_exposures),
            age=torch.zeros_like(likeness),
        )
