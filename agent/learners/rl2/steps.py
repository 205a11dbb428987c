"""The steps of trials. This is the one declaration of a step's fields; tree functions select, join and move them.

Shapes: T steps, B trials, R rows of a rollout, N steps of a minibatch's stretches; ``*N`` one of [R], [T, B] and [N]; D
observation width, W action width, K slots, Y critic features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from optree.dataclasses import register_node
from torch import Tensor

from agent.learners.rl2.policy_state import PolicyInput
from agent.learners.rl2.trees import join_tensors


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class Steps:
    """Steps of trials.

    Steps after a trial's end are padding: ``is_valid`` is False and nothing reads them.

    Attributes:
        inputs: [*N] the policy's inputs, except the hidden state.
        action: [*N] int64, [*N, W] int64, or [*N, W] float32 if it has numbers (before any clipping).
        reward: [*N] in the environment's units.
        terminated: [*N] whether the step ended its episode in a terminal state.
        truncated: [*N] whether the step's episode was truncated after it.
        is_valid: [*N] whether the step was taken.
        episode_index: [*N] int64, index of the step's episode.
    """

    inputs: PolicyInput
    action: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    is_valid: Tensor
    episode_index: Tensor

    def without_padding(self, is_valid: Bool[Tensor, "*N"]) -> Steps:
        """Return the steps with reward 0 and without ends where they are not valid.

        Args:
            is_valid: whether the step was taken.
        """
        return replace(
            self,
            reward=self.reward * is_valid,
            terminated=self.terminated & is_valid,
            truncated=self.truncated & is_valid,
            is_valid=is_valid,
        )


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class RecordedSteps:
    """Steps as a rollout records them, [R] or [T, B].

    Attributes:
        steps: the steps.
        scores: [*N, K] scores of the action distributions.
        features: [*N, Y] inputs of a critic; None for held-out trials.
        final_observation: [*N, D] the true last observation where an episode ended; None of observations with images,
            of which only those are kept.
    """

    steps: Steps
    scores: Tensor
    features: Tensor | None
    final_observation: Tensor | None


@dataclass(frozen=True, kw_only=True)
class RecordedStretch:
    """Consecutive steps that were taken in the same rows.

    Attributes:
        rows: [R] indices of the trials, ascending; None for all trials.
        recorded: the steps, of R rows each.
    """

    rows: Tensor | None
    recorded: list[RecordedSteps]


def join_stretches(stretches: Sequence[RecordedStretch], *, num_trials: int) -> RecordedSteps:
    """Join all steps of all trials into [T, B]; entries are zero after a trial's rows were dropped."""
    stretches = [stretch for stretch in stretches if stretch.recorded]
    recorded = [step for stretch in stretches for step in stretch.recorded]
    if all(stretch.rows is None for stretch in stretches):
        return join_tensors(torch.stack, recorded)

    def joined(parts: tuple[Tensor, ...]) -> Tensor:
        whole = parts[0].new_zeros(len(parts), num_trials, *parts[0].shape[1:])
        start = 0
        for stretch in stretches:
            stop = start + len(stretch.recorded)
            if stretch.rows is None:
                torch.stack(parts[start:stop], out=whole[start:stop])
            else:
                whole[start:stop].index_copy_(1, stretch.rows, torch.stack(parts[start:stop]))
            start = stop
        return whole

    return join_tensors(joined, recorded)
