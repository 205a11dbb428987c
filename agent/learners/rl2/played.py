"""The data of played trials, from which the trial batch is built after the last step.

Shapes: T steps, B trials, N episodes that ended, D observation width, H hidden, K action dimensions, Y critic features,
C truncated steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from optree.dataclasses import register_node
from torch import Tensor

from agent.learners.distributions import ActionDistribution
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.policy_state import PolicyInput
from agent.learners.rl2.steps import RecordedSteps
from agent.learners.rl2.trees import STATIC, select_rows
from agent.learners.rl2.trials import TrialBatch
from envs.spaces import SpacePair


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class Played:
    """The data of B trials: tensors of fixed shapes, before ends and truncated steps are selected.

    Attributes:
        spaces: the family's space pair.
        episodes_per_trial: E.
        recorded: [T, B] the steps.
        log_std: [K] of continuous distributions; None otherwise.
        final: the policy's inputs at true final observations and the hidden states that belong to them: [T·B], or [C]
            if only truncated episodes were stored; None if nothing is truncated.
        left: [B, H] the hidden states that earlier trials of the tasks left; None for trials that began empty.
        last_observation: [N, D] the true final observations of the episodes that ended, by their step and trial; None
            if those of all steps were recorded.
    """

    spaces: SpacePair = field(metadata=STATIC)
    episodes_per_trial: int = field(metadata=STATIC)
    recorded: RecordedSteps
    log_std: Tensor | None
    final: tuple[PolicyInput, Tensor] | None
    left: Tensor | None = None
    last_observation: Tensor | None = None


@torch.no_grad()
def sort_out(policy: RL2Policy, played: Played) -> TrialBatch:
    """Build the trial batch from the recorded steps.

    The function finds ends and truncated steps, and computes critic features at truncations by one policy step.
    """
    recorded, steps = played.recorded, played.recorded.steps
    distribution = ActionDistribution(action=played.spaces.action, scores=recorded.scores, log_std=played.log_std)
    end = (steps.terminated | steps.truncated).flatten().nonzero().squeeze(1)
    cut = None if recorded.features is None else steps.truncated.flatten().nonzero().squeeze(1)
    last_observation = played.last_observation
    if recorded.final_observation is not None:
        last_observation = recorded.final_observation.flatten(0, 1).index_select(0, end)
    assert last_observation is not None, "a rollout records final observations of all steps or of the last ones"
    return TrialBatch(
        **vars(steps),
        spaces=played.spaces,
        episodes_per_trial=played.episodes_per_trial,
        log_prob=distribution.log_prob(steps.action),
        decisions=distribution.parameters(),
        end=end,
        final_observation=last_observation,
        features=recorded.features,
        cut=cut,
        cut_features=None if cut is None else _cut_features(policy, played, cut),
        left=played.left,
    )


def _cut_features(policy: RL2Policy, played: Played, cut: Tensor) -> Tensor:
    """Return [C, Y], the inputs of a critic at the true final observations of truncated episodes."""
    if played.final is None or len(cut) == 0:
        config = policy.config
        return played.recorded.scores.new_empty(0, config.hidden_size + config.input_size)
    inputs, hidden = played.final
    if len(hidden) != len(cut):
        inputs, hidden = select_rows(played.final, cut)
    return policy.step(played.spaces, inputs, hidden).features
