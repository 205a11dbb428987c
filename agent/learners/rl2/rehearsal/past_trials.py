"""Past trials: stored trials as time-major tensors, with the action distributions of the policy that played them.

Shapes: T steps, B trials, F parameters of an action distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from optree.dataclasses import register_node
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from agent.learners.rl2.stored_steps import StoredSteps, steps_of_trial
from agent.learners.rl2.trees import STATIC, join_tensors, map_tensors
from agent.learners.rl2.trials import TrialBatch
from envs.spaces import SpacePair
from memory.records import TrialRecord


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class PastTrials(StoredSteps):
    """B trials that were played in the past, [T, B].

    Attributes:
        spaces: the space pair.
        episodes_per_trial: E, the same for all trials.
        decisions: [T, B, F] parameters of the action distributions with which the trials were played.
    """

    spaces: SpacePair = field(metadata=STATIC)
    episodes_per_trial: int = field(metadata=STATIC)
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
        spaces: the space pair in which they were played.
        device: device of the tensors.
    """
    steps = join_tensors(lambda parts: pad_sequence(list(parts)), [steps_of_trial(record) for record in records])
    return PastTrials(
        **vars(map_tensors(lambda values: values.to(device), steps)),
        spaces=spaces,
        episodes_per_trial=len(records[0].episodes),
        decisions=pad_sequence([_decisions(record) for record in records]).to(device),
    )


def of_batch(trials: TrialBatch) -> PastTrials:
    """Return the whole trials of a batch that has just been played."""
    following = torch.cat([trials.observation[1:], trials.observation[:1]])
    next_observation = following.flatten(0, 1).index_copy(0, trials.end, trials.final_observation)
    return PastTrials(
        spaces=trials.spaces,
        episodes_per_trial=trials.episodes_per_trial,
        observation=trials.observation,
        action=trials.action,
        reward=trials.reward,
        terminated=trials.terminated,
        truncated=trials.truncated,
        is_valid=trials.is_valid,
        next_observation=next_observation.view_as(trials.observation),
        decisions=trials.decisions,
    )


def _decisions(record: TrialRecord) -> Tensor:
    """Return the parameters of the action distributions of one trial, [T, F]."""
    stored = [episode.decisions for episode in record.episodes if episode.decisions is not None]
    return torch.from_numpy(np.concatenate(stored).astype(np.float32))


def has_decisions(record: TrialRecord) -> bool:
    """Return whether the action distributions of every episode were stored."""
    return all(episode.decisions is not None for episode in record.episodes)
