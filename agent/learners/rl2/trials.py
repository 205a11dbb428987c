"""Trial batches: B parallel trials as time-major tensors. A rollout produces them and an update consumes them.

Shapes: T steps, B trials, E episodes of a trial, D observation width, W action width, Y critic features, N ends of
episodes, C truncated steps, F parameters of an action distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from optree.dataclasses import register_node
from torch import Tensor

from agent.learners.rl2.segment import Segment
from agent.learners.rl2.steps import Steps
from agent.learners.rl2.trees import STATIC
from envs.spaces import SpacePair
from memory.records import ContextKey, EpisodeRecord, TrialRecord
from memory.retrieval.digests import context_digests


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class TrialBatch(Steps):
    """A batch of B trials of one family: their steps, [T, B], and the data of their episodes.

    The reward and both kinds of ends are 0 in padding.

    Attributes:
        spaces: the family's space pair.
        episodes_per_trial: E.
        log_prob: [T, B] log π(a | ·) when the action was drawn.
        decisions: [T, B, F] parameters of the distribution that each action was drawn from
            (:meth:`agent.learners.distributions.ActionDistribution.parameters`).
        end: [N] flat index t·B + b of the steps that ended an episode, ascending.
        final_observation: [N, D] true final observations of those episodes.
        features: [T, B, Y] inputs of a critic; None for held-out trials, which are never used for learning.
        cut: [C] flat index of the truncated steps; None for held-out trials.
        cut_features: [C, Y] inputs of a critic at the true final observations of the truncated episodes; None for
            held-out trials.
        left: [B, H] the hidden states that earlier trials of the tasks left, or earlier segments of the trials; None
            for trials that began empty.
        segment: the further data of a segment, whose pieces take the place of trials; None for whole trials.
    """

    spaces: SpacePair = field(metadata=STATIC)
    episodes_per_trial: int = field(metadata=STATIC)
    log_prob: Tensor
    decisions: Tensor
    end: Tensor
    final_observation: Tensor
    features: Tensor | None = None
    cut: Tensor | None = None
    cut_features: Tensor | None = None
    left: Tensor | None = None
    segment: Segment | None = None

    @property
    def steps(self) -> Steps:
        """The steps alone, [T, B]."""
        return Steps(**{part.name: getattr(self, part.name) for part in fields(Steps)})

    @property
    def observation(self) -> Shaped[Tensor, "T B D"]:
        """The observations that the policy acted on."""
        return self.inputs.observation

    @property
    def num_steps(self) -> int:
        """T, steps of the longest trial."""
        return len(self.reward)

    @property
    def num_trials(self) -> int:
        """B, the number of trials."""
        return self.reward.shape[1]

    @property
    def lengths(self) -> Tensor:
        """[B] int64, steps of each trial."""
        return self.is_valid.sum(0)


def critic_inputs(
    trials: TrialBatch,
) -> tuple[Float[Tensor, "T B Y"], Int64[Tensor, " C"], Float[Tensor, "C Y"]]:
    """Return ``features``, ``cut`` and ``cut_features`` of trials to learn from.

    Raises:
        ValueError: the trials are held out.
    """
    if trials.features is None or trials.cut is None or trials.cut_features is None:
        raise ValueError("these trials are held out (Split.HELD_OUT): they may be scored, never learned from")
    return trials.features, trials.cut, trials.cut_features


def num_env_steps(trials: TrialBatch) -> int:
    """Return the number of environment steps, without padding."""
    return int(trials.is_valid.sum())


def num_episodes(trials: TrialBatch) -> int:
    """Return the number of episodes that ended."""
    return len(trials.end)


def num_tasks(trials: TrialBatch) -> int:
    """Return by how much the index of the next task grows: by the number of tasks that began, at least 1.

    A segment in which no task began skips one, so that every rollout has its own first task.
    """
    return trials.num_trials if trials.segment is None else max(1, trials.segment.num_begun)


def mean_trial_steps(trials: TrialBatch) -> float:
    """Return the mean length of trials in steps: of the batch, or as it is estimated over several segments."""
    return float(trials.lengths.float().mean()) if trials.segment is None else trials.segment.trial_steps


def horizon_steps(trials: TrialBatch) -> float:
    """Return the length in steps from which γ follows: the mean length of trials, or less for segments.

    What follows a trial that is cut off by its limit is replaced by a value, so its rewards are a sum without end. Its
    length is not a horizon then, and γ near 1 would let the critic follow rewards of several trials, which it learns
    too slowly. A trial that terminates has a horizon: how long it goes on may depend on every step.
    """
    return mean_trial_steps(trials) if trials.segment is None else trials.segment.horizon_steps


def mean_episode_steps(trials: TrialBatch) -> float:
    """Return the mean length of episodes in steps."""
    if trials.segment is not None:
        return trials.segment.trial_steps / trials.episodes_per_trial
    return num_env_steps(trials) / max(1, num_episodes(trials))


def longest_trial(trials: TrialBatch) -> float:
    """Return the steps of the longest trial."""
    return float(trials.num_steps) if trials.segment is None else trials.segment.longest_trial


def finished_returns(trials: TrialBatch) -> Float[Tensor, " F"]:
    """Return the returns of the trials that ended: all trials of a batch of whole trials."""
    return trial_returns(trials) if trials.segment is None else trials.segment.returns


def trial_returns(trials: TrialBatch) -> Float[Tensor, " B"]:
    """Return the sum of rewards of each trial."""
    return (trials.reward * trials.is_valid).sum(0)


def episode_returns(trials: TrialBatch) -> Float[Tensor, "E B"]:
    """Return the sum of rewards of each episode of each trial."""
    sums = trials.reward.new_zeros(trials.episodes_per_trial, trials.num_trials)
    last = trials.episodes_per_trial - 1
    return sums.scatter_add_(0, trials.episode_index.clamp(max=last), trials.reward * trials.is_valid)


def is_trial_end(is_valid: Bool[Tensor, "T B"]) -> Bool[Tensor, "T B"]:
    """Return which steps are the last of their trial."""
    after = torch.cat([is_valid[1:], torch.zeros_like(is_valid[:1])])
    return is_valid & ~after


def to_records(
    trials: TrialBatch,
    *,
    rows: Sequence[int],
    tasks: Sequence[dict[str, Any]],
    decisions: Float[Tensor, "T B F"] | None = None,
    slots: Sequence[int | None] | None = None,
    contexts: Sequence[bytes | None] | None = None,
) -> list[TrialRecord]:
    """Convert trials to the records that the episodic memory stores.

    Each record has the digest by which later trials of its task find it, and no embedding yet.

    Args:
        trials: the batch.
        rows: indices of the trials to convert.
        tasks: the tasks of those trials as JSON values, in the same order
            (:meth:`envs.task_batch.TaskBatch.describe_tasks`).
        decisions: parameters of the distribution that each action was drawn from (:class:`EpisodeRecord`); None leaves
            them out. They are stored as float16.
        slots: the slots of the rehearsal reservoir that those trials take, in the same order; None for no slots.
        contexts: the digests of their contexts, in the same order (:func:`envs.task_batch.given_contexts`); None if no
            environment gives one.
    """
    first = trials.observation[0].cpu().numpy()[list(rows)]
    digests = context_digests(first, contexts)
    return [
        TrialRecord(
            task=task,
            episodes=_episodes(trials, row, decisions),
            rehearsal_slot=slot,
            context=ContextKey(digest=digest),
        )
        for row, task, slot, digest in zip(rows, tasks, slots or [None] * len(rows), digests, strict=True)
    ]


def _episodes(trials: TrialBatch, row: int, decisions: Tensor | None) -> tuple[EpisodeRecord, ...]:
    of_row = trials.end % trials.num_trials == row
    ends = torch.div(trials.end[of_row], trials.num_trials, rounding_mode="floor").tolist()
    finals = trials.final_observation[of_row]
    observations, actions, rewards, terminated = (
        values[:, row].cpu() for values in (trials.observation, trials.action, trials.reward, trials.terminated)
    )
    decided = None if decisions is None else decisions[:, row].to(torch.float16).cpu()
    starts = [0, *(end + 1 for end in ends[:-1])]
    return tuple(
        EpisodeRecord(
            observations=torch.cat([observations[start : end + 1], final.cpu().unsqueeze(0)]).numpy(),
            actions=actions[start : end + 1].numpy().copy(),
            rewards=rewards[start : end + 1].numpy().copy(),
            is_terminated=bool(terminated[end]),
            decisions=None if decided is None else decided[start : end + 1].numpy().copy(),
        )
        for start, end, final in zip(starts, ends, finals, strict=True)
    )
