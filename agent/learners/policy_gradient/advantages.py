"""Advantages of a round of episodes, with a linear critic per task that is fitted to the task's own episodes.

The critic is that of Duan et al. 2016 (arXiv:1604.06778, section 3): V(s, t) = w · (s, s², t, t², t³, 1). Regularised
least squares on the round's own returns gives w. The end of an episode ends its return, whether it terminated or was
truncated: the objective is the return within the family's episode limit, and t is one of the features.

Shapes: M tasks, R rows, T steps, W encoded width, F = 2W + 4 features.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agent.learners.policy_gradient.episodes import EpisodeBatch

TIME_SCALE = 0.01
"""The critic's unit of time is 100 steps."""
RIDGE = 1e-5
"""Weight of the squared norm of w in the fit, relative to mean squares."""


def standardised_advantages(episodes: EpisodeBatch, *, discount: float, gae_lambda: float) -> Float[Tensor, "M R T"]:
    """Return A_t with mean 0 and variance 1 over each task's steps; 0 in padding.

    Args:
        episodes: one round.
        discount: γ.
        gae_lambda: λ of generalised advantage estimation; 1 is the return minus the critic's value.
    """
    targets = discounted(episodes.reward, episodes.is_end, decay=discount)
    value = linear_values(episodes, targets)
    next_value = torch.cat([value[..., 1:], torch.zeros_like(value[..., :1])], 2).masked_fill(episodes.is_end, 0.0)
    delta = (episodes.reward + discount * next_value - value) * episodes.is_valid
    advantage = discounted(delta, episodes.is_end, decay=discount * gae_lambda)
    return _standardised(advantage, episodes.is_valid)


def discounted(
    values: Float[Tensor, "M R T"], is_end: Bool[Tensor, "M R T"], *, decay: float
) -> Float[Tensor, "M R T"]:
    """Return y_t = x_t + decay · y_{t+1}, restarted after the end of every episode."""
    carried = decay * (~is_end).to(values.dtype)
    summed = values.clone()
    for t in range(values.shape[2] - 2, -1, -1):
        summed[..., t].addcmul_(carried[..., t], summed[..., t + 1])
    return summed


def linear_values(episodes: EpisodeBatch, targets: Float[Tensor, "M R T"]) -> Float[Tensor, "M R T"]:
    """Return V(s_t, t) of the critic fitted to ``targets`` for each task, computed in float64."""
    features = _features(episodes).flatten(1, 2)
    weights = episodes.is_valid.flatten(1, 2).double()
    weighed = features * (weights / weights.sum(1, keepdim=True)).unsqueeze(2)
    ridge = RIDGE * torch.eye(features.shape[2], dtype=features.dtype, device=features.device)
    normal = weighed.transpose(1, 2) @ features + ridge
    moments = weighed.transpose(1, 2) @ targets.flatten(1, 2).double().unsqueeze(2)
    fitted: Tensor = features @ torch.linalg.solve(normal, moments)
    return fitted.squeeze(2).view_as(targets).to(targets.dtype)


def _features(episodes: EpisodeBatch) -> Float[Tensor, "M R T F"]:
    state = episodes.observation.double().clamp(-10.0, 10.0)
    time = (episodes.episode_step.double() * TIME_SCALE).unsqueeze(3)
    return torch.cat([state, state.square(), time, time.square(), time**3, torch.ones_like(time)], 3)


def _standardised(values: Float[Tensor, "M R T"], is_valid: Bool[Tensor, "M R T"]) -> Float[Tensor, "M R T"]:
    count = is_valid.sum((1, 2), keepdim=True)
    centred = (values - values.sum((1, 2), keepdim=True) / count) * is_valid
    spread = (centred.square().sum((1, 2), keepdim=True) / count).sqrt()
    return centred / (spread + 1e-8)
