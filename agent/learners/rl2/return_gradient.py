"""The gradient of a policy's return, estimated from trials that the policy has just played.

∇J = E[ Σ_t ∇ log π(a_t | ·) A_t ]    (Williams 1992; Schulman et al. 2016, arXiv:1506.02438, eq. 1)

The baseline of the advantages is linear in the policy's own features. It is fitted to the same trials by least squares,
like the linear feature baseline of MAML's policy-gradient form (Finn et al. 2017, arXiv:1703.03400, appendix A.2). It
therefore needs no critic that is trained for the current parameters.

Departure: advantages are in units of their root mean square, so that families with different reward scales have equal
weight in a mean over families. The papers' gradients are in units of return.

Shapes: T steps, B trials, Y features, C cuts, R rows of valid steps.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from agent.learners.rl2.advantages import trial_advantages
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.trees import select_trials
from agent.learners.rl2.trials import TrialBatch, critic_inputs

RIDGE = 1e-3
"""Weight of the ridge penalty, per row and in units of the features' mean square."""

CHUNK_STEPS = 25_600
"""Largest number of steps, including padding, whose autograd graph is in memory at once."""


def return_gradient(
    policy: RL2Policy, trials: TrialBatch, *, discount: float, gae_lambda: float
) -> dict[str, Float[Tensor, "..."]]:
    """Return ∇J by parameter name, averaged over steps; zero for parameters that the trials' spaces do not use.

    Args:
        policy: the policy that has just played the trials.
        trials: training trials.
        discount: γ.
        gae_lambda: λ.

    Raises:
        ValueError: the trials are held out.
    """
    advantage = fitted_advantages(trials, discount=discount, gae_lambda=gae_lambda)
    named = dict(policy.named_parameters())
    gradient = {name: torch.zeros_like(parameter) for name, parameter in named.items()}
    num_valid = trials.is_valid.sum()
    for rows in _chunks(trials):
        num_steps = int(trials.lengths[rows].max())
        inputs, action, weight = select_trials((trials.inputs, trials.action, advantage), rows, num_steps)
        log_prob = policy.unroll(trials.spaces, inputs).distribution.log_prob(action)
        surrogate = (log_prob * weight).sum() / num_valid
        parts = torch.autograd.grad(surrogate, list(named.values()), allow_unused=True)
        for name, part in zip(named, parts, strict=True):
            if part is not None:
                gradient[name] += part
    return gradient


@torch.no_grad()
def fitted_advantages(trials: TrialBatch, *, discount: float, gae_lambda: float) -> Float[Tensor, "T B"]:
    """Return generalised advantages over a fitted baseline, in units of their root mean square; 0 in padding.

    Raises:
        ValueError: the trials are held out.
    """
    features, cut, cut_features = critic_inputs(trials)
    nothing = torch.zeros_like(trials.reward)
    to_go = trial_advantages(
        reward=trials.reward,
        value=nothing,
        final_value=nothing,
        truncated=torch.zeros_like(trials.truncated),
        is_valid=trials.is_valid,
        discount=discount,
        gae_lambda=1.0,
    )
    weights = _least_squares(features[trials.is_valid], to_go[trials.is_valid])
    value = _with_one(features) @ weights
    final_value = torch.zeros_like(value)
    final_value.view(-1).index_copy_(0, cut, _with_one(cut_features) @ weights)
    advantage = trial_advantages(
        reward=trials.reward,
        value=value,
        final_value=final_value,
        truncated=trials.truncated,
        is_valid=trials.is_valid,
        discount=discount,
        gae_lambda=gae_lambda,
    )
    spread = advantage[trials.is_valid].square().mean().sqrt().clamp(min=1e-6)
    return advantage / spread


def _least_squares(features: Float[Tensor, "R Y"], target: Float[Tensor, " R"]) -> Float[Tensor, " Z"]:
    """Return weights of the features and of a constant (Z = Y + 1) that predict the target, by ridge regression."""
    rows = _with_one(features).double()
    gram = rows.t() @ rows
    gram.diagonal().add_(RIDGE * gram.diagonal().mean().clamp(min=1e-6))
    weights: Tensor = torch.linalg.solve(gram, rows.t() @ target.double())
    return weights.to(features.dtype)


def _with_one(features: Float[Tensor, "*N Y"]) -> Float[Tensor, "*N Z"]:
    return torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)


def _chunks(trials: TrialBatch) -> Iterator[Tensor]:
    """Yield rows of trials in chunks of similar length, each of at most ``CHUNK_STEPS`` steps."""
    rows_at_once = max(1, CHUNK_STEPS // trials.num_steps)
    order = trials.lengths.argsort(stable=True)
    return (order[first : first + rows_at_once] for first in range(0, len(order), rows_at_once))
