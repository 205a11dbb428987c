"""Returns of trials that are played to score a policy, in bounded memory: long trials are not recorded.

Shapes: B trials, E episodes of a trial.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.rollout import Rollout, collect_trials, num_planned_episodes
from agent.learners.rl2.segment import may_be_long
from agent.learners.rl2.trials import episode_returns, trial_returns
from envs.family import Split
from envs.task_batch import TaskBatch


@dataclass(frozen=True, kw_only=True)
class ScoredTrials:
    """Returns of B trials.

    Attributes:
        trials: [B] return of each trial.
        episodes: [E, B] return of each episode.
    """

    trials: Float[Tensor, " B"]
    episodes: Float[Tensor, "E B"]


def score_trials(
    policy: RL2Policy,
    tasks: TaskBatch,
    *,
    first_task: int,
    split: Split,
    generator: torch.Generator,
    num_played: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ScoredTrials:
    """Play one trial in each of B tasks and return the returns; the arguments are those of ``collect_trials``."""
    if not may_be_long(tasks, num_planned_episodes(tasks, None)):
        batch = collect_trials(
            policy,
            tasks,
            first_task=first_task,
            split=split,
            generator=generator,
            num_played=num_played,
            progress=progress,
        )
        return ScoredTrials(trials=trial_returns(batch), episodes=episode_returns(batch))
    rollout = Rollout(policy, tasks, first_task=first_task, split=split, generator=generator)
    if num_played is not None:
        rollout.leave_out(num_played)
    return _play_unrecorded(rollout, num_planned_episodes(tasks, None), progress=progress)


@torch.no_grad()
def _play_unrecorded(rollout: Rollout, num_episodes: int, *, progress: Callable[[int], None] | None) -> ScoredTrials:
    """Take steps until every trial has ended, and keep their sums of rewards, in float64, and nothing else."""
    num_trials = len(rollout.active)
    sums = torch.zeros(num_episodes, num_trials, dtype=torch.float64, device=rollout.active.device)
    num_env_steps, num_active = 0, num_trials
    while num_active > 0:
        rollout.step()
        recorded, rows = rollout.pop_step()
        steps, columns = recorded.steps, torch.arange(num_trials, device=sums.device) if rows is None else rows
        episode = steps.episode_index.clamp(max=num_episodes - 1)
        sums.index_put_((episode, columns), (steps.reward * steps.is_valid).double(), accumulate=True)
        num_env_steps += num_active
        num_active = int(rollout.active.sum())
        if progress is not None:
            progress(num_env_steps)
        if rollout.active.device.type == "cpu":
            rollout.pack(num_active)
    return ScoredTrials(trials=sums.sum(0).float(), episodes=sums.float())
