"""Segments: the steps of long trials between two updates, without waiting for the trials' ends.

A family of long trials is practised in segments of ``RL2Config.segment_steps`` steps in each of its rows. A trial that
has not ended goes on in the next segment. A *piece* is the part of one trial in one segment; it takes the place of a
trial in the update:

- back-propagation ends at the start of a piece, which begins with the stored hidden state;
- where the trial goes on after a piece, the value of the next observation replaces the rewards that follow.

Memory therefore does not depend on the length of trials.

Shapes: L steps of the longest piece, P pieces, F finished trials, O pieces that do not end with an episode, D
observation width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from optree.dataclasses import register_node
from torch import Tensor

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.trees import STATIC
from envs.family import FamilySource
from envs.task_batch import RowTaskBatch, TaskBatch, recurs

LONG_TRIAL_STEPS = 400
"""If the longest trial of the last batch had more, trials are played in segments."""

MOST_WHOLE_STEPS = 4096
"""Trials that may be longer are always played in segments, so that memory is bounded."""

LONG_LIMIT_STEPS = 1000
"""Trials that cannot be as long are always played whole."""


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class Segment:
    """The data of a segment besides its steps.

    Attributes:
        num_begun: number of tasks that began since the last segment.
        trial_steps: estimated mean length of the family's trials in steps.
        horizon_steps: the length from which γ follows: ``trial_steps`` times the share of trials that terminate.
        longest_trial: steps of the longest trial lately; earlier segments count by a share that falls.
        tasks: [P] descriptions of the pieces' tasks as JSON values.
        contexts: [P] digests of the contexts that the environments gave.
        begins: [P] bool, whether the piece is the first of its trial.
        returns: [F] returns of the trials that ended.
        open_end: [O] flat index l·P + p of the last steps of pieces after which the trial's episode goes on.
        open_observation: [O, D] the observations after those steps.
    """

    num_begun: int = field(metadata=STATIC)
    trial_steps: float = field(metadata=STATIC)
    horizon_steps: float = field(metadata=STATIC)
    longest_trial: float = field(metadata=STATIC)
    tasks: list[dict[str, Any]] = field(metadata=STATIC)
    contexts: list[bytes | None] = field(metadata=STATIC)
    begins: Tensor
    returns: Tensor
    open_end: Tensor
    open_observation: Tensor


def may_be_long(tasks: TaskBatch, num_episodes: int) -> bool:
    """Return whether trials may have more than ``MOST_WHOLE_STEPS`` steps, or no limit of steps is known."""
    limit = tasks.max_episode_steps
    return limit is None or limit * num_episodes > MOST_WHOLE_STEPS


def is_played_in_segments(
    tasks: TaskBatch, config: RL2Config, *, num_episodes: int, longest_trial: float | None, has_learned_keys: bool
) -> bool:
    """Return whether a family's next training trials are played in segments.

    Families that are stepped as tensors, families whose tasks recur, and policies with learned keys are played in whole
    trials: recorded programs, reinstatement, and the reads that an update computes again need them. So are trials of
    several episodes that fit into memory, because rehearsal needs whole ones.

    Args:
        tasks: the family's tasks.
        config: the settings.
        num_episodes: E of the next trials.
        longest_trial: steps of the longest trial of the last update; None before the first.
        has_learned_keys: whether the policy's in-trial memory of these spaces has learned keys.
    """
    if tasks.spec.source is FamilySource.TENSOR or recurs(tasks) or has_learned_keys:
        return False
    if config.segment_steps is None or not isinstance(tasks, RowTaskBatch):
        return False
    limit = tasks.max_episode_steps
    if limit is not None and may_be_long(tasks, num_episodes):
        return True
    if limit is not None and (num_episodes > 1 or limit < LONG_LIMIT_STEPS):
        return False
    return longest_trial is None or longest_trial > LONG_TRIAL_STEPS
