"""The choice of what a policy begins with in the spaces of a new family, by a short test on training tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import structlog
import torch
from torch import Tensor

from agent.learners.evaluation.trials import standard_error
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.scored_trials import score_trials
from agent.learners.rl2.warm_start import WarmStart
from envs.family import Split
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch

log = structlog.get_logger(__name__)

TEST_TASKS = 2_000_000
"""First training task of the test. Practice counts its tasks from 0 and is far from it for long."""

TEST_SEED = 20_180_529

MIN_DIFFERENCE = 2.0
"""A copy must be better than new parameters by this many standard errors of the difference."""


def starting_policies(learner: RL2Learner, spaces: SpacePair) -> dict[WarmStart, RL2Policy]:
    """Return the policy of each possible start for these spaces; change nothing of the learner."""
    return {start: learner.policy_with(spaces, start) for start in learner.possible_starts(spaces)}


def choose_start(
    starts: Mapping[WarmStart, RL2Policy],
    tasks: TaskBatch,
    *,
    num_trials: int | None = None,
    progress: Callable[[int], None],
) -> WarmStart:
    """Return the best start for the spaces of these tasks.

    If the policy knows the spaces, the start is ``SHARED`` and nothing is played. Otherwise every possible start plays
    one trial in each of the same training tasks. If no copy is better than new parameters by more than noise explains,
    the family begins with new ones.

    Args:
        starts: the possible starts, with the policy of each.
        tasks: the family's tasks, of which one batch is played for each start.
        num_trials: trials of the batch that are played at most; None for all.
        progress: called with the number of environment steps of the current batch so far.
    """
    if len(starts) == 1:
        return next(iter(starts))
    num_played = min(num_trials or tasks.num_trials, tasks.num_trials)
    returns = {
        start: _test_returns(policy, tasks, num_played=num_played, progress=progress)
        for start, policy in starts.items()
    }
    best = max(starts, key=lambda start: float(returns[start].mean()))
    chosen = best if _is_better(returns[best], returns[WarmStart.FRESH]) else WarmStart.FRESH
    means = {str(start): round(float(found.mean()), 4) for start, found in returns.items()}
    log.info("start of new spaces chosen", spaces=tasks.spaces.key, start=str(chosen), returns=means)
    return chosen


def _test_returns(policy: RL2Policy, tasks: TaskBatch, *, num_played: int, progress: Callable[[int], None]) -> Tensor:
    """Return the returns of one batch of trials with the policy of a start."""
    scored = score_trials(
        policy,
        tasks,
        first_task=TEST_TASKS,
        split=Split.TRAINING,
        generator=torch.Generator(device=tasks.device).manual_seed(TEST_SEED),
        num_played=num_played if num_played < tasks.num_trials else None,
        progress=progress,
    )
    return scored.trials[:num_played].cpu()


def _is_better(returns: Tensor, others: Tensor) -> bool:
    """Return whether the mean is higher by more than noise explains. The tasks are the same, the actions are not."""
    error = math.hypot(standard_error(returns), standard_error(others))
    return float(returns.mean() - others.mean()) > MIN_DIFFERENCE * error
