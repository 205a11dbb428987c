"""Generalised advantage estimation over whole trials (Schulman et al. 2016, arXiv:1506.02438, eq. 16).

Return flows across the episodes of a trial and stops at its end:

δ_t = r_t + γ v'_t - v_t,    A_t = δ_t + γ λ A_{t+1},    A_{t+1} = 0 after a trial's last step

with v'_t the value of what follows. Inside an episode, and where one terminated and the trial goes on, that is v_{t+1},
the value of what is acted on next. Where an episode was cut off it is the value of its true last observation: what the
cut took away is given back. Where the trial's last episode terminated, nothing follows.

Shapes: T steps, B trials.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agent.rl2.trials import is_trial_end

BATCH_WEIGHT = 8.0
"""κ, the trials that the mean over the batch counts for in what is usual at a step: few may be left there."""


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
    """A_t of every step; 0 in padding.

    Args:
        reward: r.
        value: v.
        final_value: value of the true last observation where ``truncated``; not read elsewhere.
        truncated: the step's episode was cut off after it.
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
    """Advantages less what is usual at their step of a trial; 0 in padding.

    usual_t = (Σ_b A_tb + κ Ā) / (n_t + κ)

    with n_t the trials that step t is in, Ā the mean over the batch, and κ = ``BATCH_WEIGHT``. A critic lags while its
    policy improves, and while trials grow it judges steps that it never saw; so most advantages of a step may be of one
    sign. As they are, they would make all that was done there likelier, or less likely. A baseline that is the same for
    all that may be done at a step changes no expected gradient.

    Args:
        advantage: A; 0 in padding.
        is_valid: False after a trial's end.
    """
    mean = advantage.sum() / is_valid.sum()
    usual = (advantage.sum(1, keepdim=True) + BATCH_WEIGHT * mean) / (is_valid.sum(1, keepdim=True) + BATCH_WEIGHT)
    return (advantage - usual).masked_fill(~is_valid, 0.0)
