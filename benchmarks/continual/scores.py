"""Scores of the benchmark ``continual``: the same held-out tasks with the same noise each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from agent.learners.evaluation.trials import EVALUATION_TASKS, Scale, held_out_returns
from agent.learners.rl2.learner import RL2Learner
from benchmarks.continual.sequences import SequenceFamily
from benchmarks.kept_runs import kept_or_measured
from envs.family import Split
from envs.random_actions import random_actions
from envs.task_batch import TaskBatch

PARALLEL_TRIALS = 256
RANDOM_SEED = 20_210_523


@dataclass(frozen=True, kw_only=True)
class RandomReturn:
    """The mean trial return of uniformly random actions on the held-out tasks of a family."""

    mean: float


class Scorer:
    """The held-out tasks of families, opened when they are first scored.

    Args:
        folder: folder of the families' random returns, which are measured once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tasks: dict[str, TaskBatch] = {}
        self._scales: dict[str, Scale] = {}

    def score(self, learner: RL2Learner, family: SequenceFamily) -> float:
        """Return the score of a learner's policy on a family that it knows, within [0, 1]."""
        tasks, scale = self._opened(family)
        returns = held_out_returns(
            learner.policy, tasks, first_task=EVALUATION_TASKS, num_trials=family.num_scored_tasks
        )
        return min(1.0, max(0.0, scale.score(returns.mean)))

    def scores(self, learner: RL2Learner, families: Sequence[SequenceFamily]) -> dict[str, float]:
        """Return the scores of several families by name."""
        return {family.name: self.score(learner, family) for family in families}

    def close(self) -> None:
        """Release the tasks; safe to call twice."""
        while self._tasks:
            self._tasks.popitem()[1].close()

    def _opened(self, family: SequenceFamily) -> tuple[TaskBatch, Scale]:
        if family.name not in self._tasks:
            tasks = family.open(min(PARALLEL_TRIALS, family.num_scored_tasks))
            self._tasks[family.name] = tasks
            random = kept_or_measured(
                self._folder / f"random-{family.name}.json",
                RandomReturn,
                lambda: RandomReturn(mean=random_return(tasks, family.num_scored_tasks)),
                settings={"tasks": family.num_scored_tasks},
            )
            self._scales[family.name] = Scale(random_return=random.mean, reference_return=family.reference_return)
        return self._tasks[family.name], self._scales[family.name]


def random_return(tasks: TaskBatch, num_tasks: int) -> float:
    """Return the mean trial return of uniformly random actions on at least this many held-out tasks."""
    generator = torch.Generator().manual_seed(RANDOM_SEED)
    totals = []
    for first_task in range(0, num_tasks, tasks.num_trials):
        tasks.begin(EVALUATION_TASKS + first_task, split=Split.HELD_OUT)
        total = torch.zeros(tasks.num_trials)
        episodes = torch.zeros(tasks.num_trials, dtype=torch.int64)
        while (active := episodes < tasks.spec.episodes_per_trial).any():
            action = random_actions(tasks.spaces.action, tasks.num_trials, generator)
            transition = tasks.step(action, active)
            total += transition.reward * active
            episodes += (transition.terminated | transition.truncated) & active
        totals.append(total)
    return float(torch.cat(totals).mean())
