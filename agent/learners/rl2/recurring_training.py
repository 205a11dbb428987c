"""Training on tasks that recur: the same tasks are played several times, with the memory of their earlier trials.

A series plays the same B tasks 1, 2, 4 or 8 times. In a quarter of the series the first trials begin with what a store
recalls, in the others they begin empty; later trials begin with what the earlier ones left
(:mod:`agent.learners.rl2.reinstatement`). In the last trials of some series the recalled memory is uncertain: each row
is given a likeness, and with one minus this probability the memory of another task. A policy trained on this uses a
recall in proportion to its likeness, and does not rely on one that its first steps contradict. Every batch of trials is
learned from.

Shapes: B trials, Q features of a recall.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.recalled_trials import reinstate
from agent.learners.rl2.recognition import TaskMemory
from agent.learners.rl2.reinstatement import Reinstated, recall_features
from agent.learners.rl2.rollout import Rollout, play_out
from agent.learners.rl2.trials import TrialBatch
from envs.family import Split
from envs.task_batch import TaskBatch, begin_exposure, given_contexts

NUM_EXPOSURES = (1, 2, 4, 8)
"""The possible numbers of trial batches of a series; equally frequent."""

UNCERTAIN_SHARE = 0.75
"""Share of the series of several trials whose last trials have an uncertain recall."""

DECEIVED_SHARE = 0.5
"""Share of the rows of an uncertain recall that have likeness 1 although every second memory is another task's."""

STORED_SHARE = 0.25
"""Share of the series whose first trials begin with what the store recalls of their tasks, if there is a store."""


@dataclass(kw_only=True)
class _Series:
    """A series in progress.

    Attributes:
        first_task: index of the first task.
        num_exposures: trial batches of the series.
        is_uncertain: whether the recall of the last trials is uncertain.
        begins_stored: whether its first trials begin with what the store recalls.
        most_stored: largest number of stored trials of a task that are recalled, the newest.
        num_earlier: [B] stored trials that were recalled for each task.
        num_played: trial batches played.
        left: what the last trials left, recalled as the same tasks'.
    """

    first_task: int
    num_exposures: int
    is_uncertain: bool
    begins_stored: bool
    most_stored: int
    num_earlier: Tensor
    num_played: int = 0
    left: Reinstated | None = None


class RecurringTraining:
    """Training on tasks that recur.

    Args:
        learner: the learner to train.
        name: the family's name, as added to the learner.
        tasks: the family's tasks.
    """

    def __init__(self, learner: RL2Learner, name: str, tasks: TaskBatch) -> None:
        self._learner, self._name, self.tasks = learner, name, tasks
        self._series: _Series | None = None
        self.stored: TaskMemory | None = None
        """The stored trials of the tasks; None without a store."""

    def play(self, first_task: int, *, progress: Callable[[int], None] | None = None) -> TrialBatch:
        """Play the next trials of the series, or begin a series with the tasks from ``first_task``."""
        current = self._series
        if current is None or current.num_played == current.num_exposures:
            current = self._new_series(first_task)
            if current.begins_stored and self.stored is not None:
                self._recall_stored(current, self.stored, progress=progress)
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
        current.left = rollout.left_behind(
            self._features(torch.ones(self.tasks.num_trials), current.num_earlier + current.num_played)
        )
        self._series = current
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
    def is_amid_series(self) -> bool:
        """Return whether the tasks of the last trials are to be played again."""
        return self._series is not None and self._series.num_played < self._series.num_exposures

    def begin_series(self) -> None:
        """Begin a series with the next trials, so that what follows depends on no trials before."""
        self._series = None

    def close(self) -> None:
        """Release the tasks."""
        self.tasks.close()

    def _new_series(self, first_task: int) -> _Series:
        num_draws = 2 if self.stored is None else 4
        draws = torch.rand(num_draws, generator=self._learner.generator, device=self._learner.device).tolist()
        return _Series(
            first_task=first_task,
            num_exposures=NUM_EXPOSURES[int(draws[0] * len(NUM_EXPOSURES))],
            is_uncertain=draws[1] < UNCERTAIN_SHARE,
            begins_stored=self.stored is not None and draws[2] < STORED_SHARE,
            most_stored=0 if self.stored is None else NUM_EXPOSURES[int(draws[3] * len(NUM_EXPOSURES))],
            num_earlier=torch.zeros(self.tasks.num_trials, device=self._learner.device),
        )

    def _recall_stored(
        self, current: _Series, stored: TaskMemory, *, progress: Callable[[int], None] | None = None
    ) -> None:
        """Begin a series with what the store recalls at the first observation of each task."""
        first = begin_exposure(self.tasks, current.first_task, split=Split.TRAINING).cpu().numpy()
        contexts = given_contexts(self.tasks, list(range(self.tasks.num_trials)))
        found = [stored.find(seen, context=context) for seen, context in zip(first, contexts, strict=True)]
        recalled = [replace(row, trials=row.trials[-current.most_stored :]) for row in found]
        policy, device = self._learner.policy, self._learner.device
        current.left = reinstate(policy, self.tasks.spaces, recalled, device=device, progress=progress)
        current.num_earlier = torch.tensor([float(len(row.trials)) for row in recalled], device=device)

    def _recalled(self, current: _Series) -> Reinstated | None:
        """Return what the next trials of a series begin with."""
        is_last = current.num_played == current.num_exposures - 1
        if current.left is None or not (is_last and current.is_uncertain):
            return current.left
        num_trials, device = self.tasks.num_trials, self._learner.device
        likeness, chance, deceived = torch.rand(3, num_trials, generator=self._learner.generator, device=device)
        is_deceived = deceived < DECEIVED_SHARE
        is_right = chance < torch.where(is_deceived, 0.5, likeness)
        own = torch.arange(num_trials, device=device)
        rows = torch.where(is_right, own, own.roll(1))
        num_exposures = current.num_earlier[rows] + current.num_played
        features = self._features(likeness.masked_fill(is_deceived, 1.0), num_exposures)
        return current.left.select(rows, features)

    def _features(self, likeness: Tensor, num_exposures: Tensor) -> Tensor:
        likeness = likeness.to(self._learner.device)
        return recall_features(
            likeness=likeness,
            num_exposures=num_exposures,
            age=torch.zeros_like(likeness),
        )
