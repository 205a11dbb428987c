"""The play of random actions at admission."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from envs.effort import Effort, TimeLimit
from envs.family import FamilySource, FamilySpec, Split
from envs.random_play import play_at_random
from envs.task_batch import Transition
from envs.tensor.bandits import bandit_spaces

STEP_S = 0.001


class SlowTasks:
    """A batch whose steps take a time for each row that is stepped; episodes have ``max_episode_steps``."""

    def __init__(self, num_trials: int, max_episode_steps: int) -> None:
        self.spec = FamilySpec(name="slow", source=FamilySource.TENSOR, entry="bernoulli_bandits", episodes_per_trial=1)
        self.spaces, self.device, self.may_truncate = bandit_spaces(2), torch.device("cpu"), True
        self.num_trials, self.max_episode_steps = num_trials, max_episode_steps
        self.steps = torch.zeros(num_trials, dtype=torch.int64)

    def begin(self, first_task: int, *, split: Split) -> Tensor:
        self.steps[:] = 0
        return torch.zeros(self.num_trials, 1)

    def step(self, action: Tensor, active: Tensor) -> Transition:
        time.sleep(STEP_S * int(active.sum()))
        self.steps += active
        ends = self.steps >= self.max_episode_steps
        nothing = torch.zeros(self.num_trials, 1)
        return Transition(
            observation=nothing,
            reward=active.float(),
            terminated=torch.zeros_like(ends),
            truncated=ends,
            final_observation=nothing,
        )

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        return [{} for _ in rows]

    def task_parameters(self) -> Tensor:
        return torch.zeros(self.num_trials, 0)

    def close(self) -> None:
        """Do nothing, because nothing is open."""


def played(tasks: SlowTasks, *, patience_s: float) -> Any:
    effort = Effort(patience_s=patience_s, longest_s=0.5, enough_s=0.01)
    limit = TimeLimit(60.0)
    return play_at_random(
        tasks, effort, limit, num_rows=tasks.num_trials, has_step_limit=True, report=lambda phase, units: None
    )


def test_fewer_copies_go_on_if_the_longest_episode_would_not_end_in_time() -> None:
    play = played(SlowTasks(64, 120), patience_s=2.0)
    assert play.is_whole
    assert set(play.episode_lengths) == {120}
    assert 1 <= len(play.trial_returns) <= 16
    assert set(play.trial_returns) == {120.0}


def test_all_copies_go_on_if_there_is_time() -> None:
    play = played(SlowTasks(4, 20), patience_s=60.0)
    assert len(play.trial_returns) == 4
