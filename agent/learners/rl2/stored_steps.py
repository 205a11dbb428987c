"""Stored steps: the steps of stored trials as tensors, which rehearsal replays and reinstatement runs again.

Shapes: T steps, B trials, D observation width; ``*N`` either of [T] and [T, B].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from optree.dataclasses import register_node
from torch import Tensor

from memory.records import TrialRecord


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
