"""Generalised advantage estimation over whole trials (Schulman et al. 2016, arXiv:1506.02438, eq. 16).

Returns accumulate across the episodes of a trial and stop at its end:

δ_t = r_t + γ v'_t - v_t,    A_t = δ_t + γ λ A_{t+1},    A_{t+1} = 0 after a trial's last step

v'_t is the value of what follows step t:

- within an episode, or where an episode terminated and the trial goes on: v_{t+1}, the value of the next observation
  that the policy acts on;
- where an episode was truncated: the value of its true final observation, which replaces the rewards lost by
  truncation;
- where the trial's last episode terminated: 0;
- after the last step of a segment, if the trial goes on: the value of the next observation.

Shapes: T steps, B trials.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agent.learners.rl2.trials import is_trial_end

BATCH_WEIGHT = 8.0
"""κ, the weight of the batch mean in a step's usual advantage, in trials. It matters at steps that few trials reach."""


def trial_advantages(
    *,
    reward: Float[Tensor, "T B"],
    value: Float[Tensor, "T B"],
    final_value: Float[Tensor, "T B"],
    truncated: Bool[Tensor, "T B"],
    is_valid: Bool[Tensor, "T B"],
    discount: float,
    gae_lambda: float,
) -> Float[Tensor, "T B"]:
    """Return A_t of every step; 0 in padding.

    Args:
        reward: r.
        value: v.
        final_value: value of the observation after the step where ``truncated``; not read elsewhere.
        truncated: whether the step's episode was truncated after it, or the trial goes on in the next segment.
        is_valid: False after a trial's end.
        discount: γ.
        gae_lambda: λ.
    """
    ends_trial = is_trial_end(is_valid)
    next_value = torch.cat([value[1:], torch.zeros_like(value[:1])]).masked_fill(ends_trial, 0.0)
    next_value = torch.where(truncated, final_value, next_value)
    delta = (reward + discount * next_value - value).masked_fill_(~is_valid, 0.0)
    carried = discount * gae_lambda * (is_valid & ~ends_trial).to(reward.dtype)
    for t in range(len(delta) - 2, -1, -1):
        delta[t].addcmul_(carried[t], delta[t + 1])
    return delta


def about_usual(advantage: Float[Tensor, "T B"], is_valid: Bool[Tensor, "T B"]) -> Float[Tensor, "T B"]:
    """Subtract from advantages the usual advantage of their step; 0 in padding.

    usual_t = (Σ_b A_tb + κ Ā) / (n_t + κ)

    with n_t the number of trials that include step t, Ā the mean over the batch, and κ = ``BATCH_WEIGHT``.

    Why: a critic lags while its policy improves, and while trials grow it evaluates steps that it has never seen. Most
    advantages of a step can then have the same sign, which would make all actions taken there more likely, or all less
    likely. A baseline that is the same for all actions of a step does not change the expected gradient.

    Args:
        advantage: A; 0 in padding.
        is_valid: False after a trial's end.
    """
    mean = advantage.sum() / is_valid.sum()
    usual = (advantage.sum(1, keepdim=True) + BATCH_WEIGHT * mean) / (is_valid.sum(1, keepdim=True) + BATCH_WEIGHT)
    return (advantage - usual).masked_fill(~is_valid, 0.0)


def about_mean(advantage: Float[Tensor, "T B"], is_valid: Bool[Tensor, "T B"]) -> Float[Tensor, "T B"]:
    """Subtract from advantages their mean over the batch; 0 in padding.

    Args:
        advantage: A; 0 in padding.
        is_valid: False after the end of a trial or of a piece.
    """
    return (advantage - advantage.sum() / is_valid.sum()).masked_fill(~is_valid, 0.0)
