"""Play of a family's tasks with uniformly random actions, and what is measured by it.

Shapes: B trials.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from envs.effort import Effort, TimeLimit, TimeUpError
from envs.family import Split
from envs.gymnasium.batch import WorkerTaskBatch
from envs.gymnasium.task_drawing import draw_tasks
from envs.random_actions import random_actions
from envs.task_batch import TaskBatch, Transition, allowed_choices

MAX_TRIALS = 1024

REPORT_STEPS = 64
"""Steps of a batch after which progress is reported although no episode ended."""

NUM_LOOKS = 5
"""Number of checks, while no episode has ended, whether one will end in time with so many copies."""

THINNED = 4
"""The factor by which copies become fewer if it will not: they are stepped one after another."""

Progress = Callable[[str, int], None]
"""A function that is called with the present activity and a growing number."""


@dataclass(kw_only=True)
class RandomPlay:
    """The returns and lengths of episodes of random actions.

    Attributes:
        trial_returns: the return of each trial that was played to its end.
        episode_returns: the return of each episode that ended.
        episode_lengths: the number of steps of each episode that ended.
        num_truncated: episodes that were truncated, by the environment or by the step limit.
        num_steps: steps of all copies together.
        lowest_reward: the lowest reward of a step.
        highest_reward: the highest reward of a step.
        is_whole: whether every trial that was begun was played to its end.
        seconds: the time for beginning and stepping the tasks.
    """

    trial_returns: list[float] = field(default_factory=list)
    episode_returns: list[float] = field(default_factory=list)
    episode_lengths: list[int] = field(default_factory=list)
    num_truncated: int = 0
    num_steps: int = 0
    lowest_reward: float = math.inf
    highest_reward: float = -math.inf
    is_whole: bool = True
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return what was measured as JSON values: ``episodes``, ``rewards`` and ``steps_per_s``."""
        lengths, returns = self.episode_lengths, self.episode_returns
        return {
            "steps_per_s": self.num_steps / self.seconds if self.seconds else None,
            "episodes": {
                "count": len(lengths),
                "num_truncated": self.num_truncated,
                "shortest": min(lengths, default=None),
                "longest": max(lengths, default=None),
                "mean_length": math.fsum(lengths) / len(lengths) if lengths else None,
            },
            "rewards": {
                "lowest": self.lowest_reward if self.num_steps else None,
                "highest": self.highest_reward if self.num_steps else None,
                "lowest_return": min(returns, default=None),
                "highest_return": max(returns, default=None),
                "mean_return": math.fsum(returns) / len(returns) if returns else None,
            },
        }


def play_at_random(
    tasks: TaskBatch, effort: Effort, limit: TimeLimit, *, num_rows: int, has_step_limit: bool, report: Progress
) -> RandomPlay:
    """Play whole trials with random actions, until there are enough of them or the time is up.

    Args:
        tasks: the opened tasks, which are of no use afterwards if a wait for their worker was ended.
        effort: the limits of time.
        limit: the limit of the whole play.
        num_rows: tasks that are begun at once; fewer than a batch of a worker's family holds, if they begin slowly.
        has_step_limit: whether every episode is known to end.
        report: called with the number of episodes.
    """
    play = RandomPlay()
    try:
        _play_batches(play, tasks, effort, limit, num_rows=num_rows, has_step_limit=has_step_limit, report=report)
    except TimeUpError:
        play.is_whole = False
    return play


def _play_batches(
    play: RandomPlay,
    tasks: TaskBatch,
    effort: Effort,
    limit: TimeLimit,
    *,
    num_rows: int,
    has_step_limit: bool,
    report: Progress,
) -> None:
    generator, start = torch.Generator().manual_seed(0), time.monotonic()
    patience_s = max(effort.patience_s if has_step_limit else effort.endless_s, effort.longest_s)
    batches = 0
    while len(play.trial_returns) < MAX_TRIALS and time.monotonic() - start < effort.enough_s and play.is_whole:
        limit.check()
        begun = time.monotonic()
        _begin(tasks, batches * num_rows, num_rows)
        batch = _Batch(tasks, play, generator, num_rows=num_rows)
        play.seconds += time.monotonic() - begun
        # The time for making and resetting the copies does not count here; it has limits of its own.
        begun, look_s = time.monotonic(), patience_s / NUM_LOOKS
        while batch.step(report):
            limit.check()
            passed = time.monotonic() - begun
            if not play.episode_lengths and passed > look_s:
                look_s += patience_s / NUM_LOOKS
                batch.thin_out(passed / patience_s)
            if passed > (effort.longest_s if play.episode_lengths else patience_s):
                play.is_whole = False
                break
        batches += 1


def _begin(tasks: TaskBatch, first_task: int, num_rows: int) -> None:
    if num_rows < tasks.num_trials and isinstance(tasks, WorkerTaskBatch):
        tasks.begin_chosen(draw_tasks(tasks.spec, Split.TRAINING, first_task, num_rows))
    else:
        tasks.begin(first_task, split=Split.TRAINING)


class _Batch:
    """A batch of trials that is played; its results are added to a :class:`RandomPlay`."""

    def __init__(self, tasks: TaskBatch, play: RandomPlay, generator: torch.Generator, *, num_rows: int) -> None:
        self._tasks, self._play, self._generator, self._num_rows = tasks, play, generator, num_rows
        self._trial_return = torch.zeros(tasks.num_trials, dtype=torch.float64)
        self._episode_return = torch.zeros(tasks.num_trials, dtype=torch.float64)
        self._length = torch.zeros(tasks.num_trials, dtype=torch.int64)
        self._episodes = torch.zeros(tasks.num_trials, dtype=torch.int64)
        self._active = torch.arange(tasks.num_trials) < num_rows
        self._num_steps = 0

    def step(self, report: Progress) -> bool:
        """Take a step in every active row; return False when all trials have ended."""
        tasks, play, active = self._tasks, self._play, self._active
        allowed = allowed_choices(tasks)
        action = random_actions(tasks.spaces.action, tasks.num_trials, self._generator, allowed=allowed)
        begun = time.monotonic()
        transition = tasks.step(action, active)
        play.seconds += time.monotonic() - begun
        rewards = transition.reward[active]
        play.num_steps += int(active.sum())
        play.lowest_reward = min(play.lowest_reward, float(rewards.min()))
        play.highest_reward = max(play.highest_reward, float(rewards.max()))
        self._trial_return += transition.reward
        self._episode_return += transition.reward
        self._length += active
        has_ended = (transition.terminated | transition.truncated) & active
        if has_ended.any():
            self._end_episodes(transition, has_ended)
        self._num_steps += 1
        if has_ended.any() or self._num_steps % REPORT_STEPS == 0:
            report("playing at random", len(play.episode_lengths))
        if self._active.any():
            return True
        play.trial_returns += self._trial_return[: self._num_rows].tolist()
        return False

    def thin_out(self, passed: float) -> None:
        """Go on with fewer rows if the longest episode will not end in time.

        Args:
            passed: the share of the patience that has passed.
        """
        longest = self._tasks.max_episode_steps
        if longest is not None and self._num_steps / longest < passed:
            self._num_rows = max(1, self._num_rows // THINNED)
            self._active &= torch.arange(len(self._active)) < self._num_rows

    def _end_episodes(self, transition: Transition, has_ended: Tensor) -> None:
        play = self._play
        play.episode_returns += self._episode_return[has_ended].tolist()
        play.episode_lengths += self._length[has_ended].tolist()
        play.num_truncated += int((transition.truncated & has_ended).sum())
        self._episode_return[has_ended] = 0.0
        self._length[has_ended] = 0
        self._episodes += has_ended
        self._active &= self._episodes < self._tasks.spec.episodes_per_trial
