"""Stored steps: the steps of stored trials as tensors, which rehearsal replays and reinstatement runs again.

Shapes: T steps, B trials, D observation width; ``*N`` either of [T] and [T, B].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from optree.dataclasses import register_node
from torch import Tensor

from memory.records import EpisodeRecord, TrialRecord


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class StoredSteps:
    """The steps of stored trials. Steps after a trial's end are padding.

    Attributes:
        observation: [*N, D] in the environment's units.
        action: as in :class:`agent.learners.rl2.steps.Steps`.
        reward: [*N]; 0 in padding.
        terminated: [*N].
        truncated: [*N].
        is_valid: [*N].
        next_observation: [*N, D] the next observation of the episode, or the true final one.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    is_valid: Tensor
    next_observation: Tensor


def steps_of_trial(trial: TrialRecord) -> StoredSteps:
    """Return the steps of a stored trial, [T], its episodes joined."""
    episodes = trial.episodes
    reward = torch.from_numpy(np.concatenate([episode.rewards for episode in episodes]))
    terminated, truncated = (torch.zeros(len(reward), dtype=torch.bool) for _ in range(2))
    ends = np.cumsum([len(episode.rewards) for episode in episodes]) - 1
    for end, episode in zip(ends.tolist(), episodes, strict=True):
        (terminated if episode.is_terminated else truncated)[end] = True
    return StoredSteps(
        observation=torch.from_numpy(np.concatenate([episode.observations[:-1] for episode in episodes])),
        action=torch.from_numpy(np.concatenate([episode.actions for episode in episodes])),
        reward=reward,
        terminated=terminated,
        truncated=truncated,
        is_valid=torch.ones(len(reward), dtype=torch.bool),
        next_observation=torch.from_numpy(np.concatenate([episode.observations[1:] for episode in episodes])),
    )


def trial_of_steps(steps: StoredSteps) -> TrialRecord:
    """Return the trial of [T] steps, all of which were taken; its last episode may be unfinished."""
    last = len(steps.reward) - 1
    ends = (steps.terminated | steps.truncated).nonzero().flatten().tolist()
    ends += [] if last in ends else [last]
    begins = [0, *(end + 1 for end in ends[:-1])]
    return TrialRecord(
        task={}, episodes=tuple(_episode(steps, begin, end) for begin, end in zip(begins, ends, strict=True))
    )


def _episode(steps: StoredSteps, begin: int, end: int) -> EpisodeRecord:
    """Return the episode of the steps from ``begin`` to ``end``."""
    observations = torch.cat([steps.observation[begin : end + 1], steps.next_observation[end : end + 1]])
    return EpisodeRecord(
        observations=observations.cpu().numpy(),
        actions=steps.action[begin : end + 1].cpu().numpy(),
        rewards=steps.reward[begin : end + 1].cpu().numpy(),
        is_terminated=bool(steps.terminated[end]),
    )
