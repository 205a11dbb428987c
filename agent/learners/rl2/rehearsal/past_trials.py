"""Past trials: stored trials as time-major tensors, with the action distributions of the policy that played them.

Shapes: T steps, B trials, D observation width, F parameters of an action distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from optree.dataclasses import register_node
from torch import Tensor

from agent.learners.rl2.trees import STATIC
from envs.spaces import SpacePair
from memory.records import TrialRecord


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class PastTrials:
    """B trials that were played in the past. Steps after a trial's end are padding.

    Attributes:
        spaces: the pair of spaces.
        episodes_per_trial: E, the same for all trials.
        observation: [T, B, D] in the environment's units.
        action: as in :class:`agent.learners.rl2.steps.Steps`.
        reward: [T, B]; 0 in padding.
        terminated: [T, B].
        truncated: [T, B].
        is_valid: [T, B].
        next_observation: [T, B, D] the next observation of the episode, or the true final one.
        decisions: [T, B, F] parameters of the action distributions with which the trials were played.
    """

    spaces: SpacePair = field(metadata=STATIC)
    episodes_per_trial: int = field(metadata=STATIC)
    observation: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    is_valid: Tensor
    next_observation: Tensor
    decisions: Tensor

    @property
    def num_trials(self) -> int:
        """B, the number of trials."""
        return self.reward.shape[1]

    @property
    def lengths(self) -> Tensor:
        """[B] int64, steps of each trial."""
        return self.is_valid.sum(0)


def past_trials(records: Sequence[TrialRecord], spaces: SpacePair, *, device: torch.device) -> PastTrials:
    """Return stored trials as tensors.

    Args:
        records: trials of equally many episodes, each stored with its action distributions.
        spaces: the pair of spaces in which they were played.
        device: device of the tensors.
    """
    parts = [_arrays(record) for record in records]

    def padded(name: str) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(part[name]) for part in parts]).to(device)

    return PastTrials(
        spaces=spaces,
        episodes_per_trial=len(records[0].episodes),
        **{name: padded(name) for name in parts[0]},
    )


def _arrays(record: TrialRecord) -> dict[str, np.ndarray[Any, Any]]:
    """Return the fields of one trial, its episodes joined."""
    episodes = record.episodes
    rewards = np.concatenate([episode.rewards for episode in episodes])
    is_last = np.concatenate([np.arange(len(episode.rewards)) == len(episode.rewards) - 1 for episode in episodes])
    is_terminated = np.concatenate([np.full(len(episode.rewards), episode.is_terminated) for episode in episodes])
    decisions = [episode.decisions for episode in episodes if episode.decisions is not None]
    return {
        "observation": np.concatenate([episode.observations[:-1] for episode in episodes]),
        "action": np.concatenate([episode.actions for episode in episodes]),
        "reward": rewards,
        "terminated": is_last & is_terminated,
        "truncated": is_last & ~is_terminated,
        "is_valid": np.ones(len(rewards), dtype=np.bool_),
        "next_observation": np.concatenate([episode.observations[1:] for episode in episodes]),
        "decisions": np.concatenate(decisions).astype(np.float32),
    }


def has_decisions(record: TrialRecord) -> bool:
    """Return whether the action distributions of every episode were stored."""
    return all(episode.decisions is not None for episode in record.episodes)
