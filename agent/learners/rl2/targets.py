"""The targets of an update: advantages and returns of a trial batch, in units of the family's scales.

Shapes: T steps, B trials.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from agent.learners.rl2.advantages import about_mean, about_usual, trial_advantages
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.minibatch import Targets
from agent.learners.rl2.normalisation import PopArtCritic
from agent.learners.rl2.trials import TrialBatch, critic_inputs, horizon_steps, mean_trial_steps


@torch.no_grad()
def update_targets(critic: PopArtCritic, trials: TrialBatch, config: RL2Config) -> tuple[Targets, Float[Tensor, ""]]:
    """Compute the targets of a trial batch, and update the family's scales.

    Args:
        critic: the family's critic with its scales, which are updated.
        trials: training trials.
        config: the settings.

    Returns:
        The targets, and the share of the returns' variance that the critic explained before the update.

    Raises:
        ValueError: the trials are held out.
    """
    discount = config.discount_for(horizon_steps(trials))
    critic.choose_unit(trials.reward[trials.is_valid])
    reward = critic.in_unit(trials.reward)
    critic.follow_rewards(reward[trials.is_valid], discount)
    features, cut, cut_features = critic_inputs(trials)
    value = critic.value(features)
    final_value = torch.zeros_like(value)
    final_value.view(-1).index_copy_(0, cut, critic.bounded(critic.value(cut_features), discount))
    is_cut = torch.zeros_like(trials.truncated)
    is_cut.view(-1)[cut] = True
    advantage = trial_advantages(
        reward=reward,
        value=value,
        final_value=final_value,
        truncated=is_cut,
        is_valid=trials.is_valid,
        discount=discount,
        gae_lambda=config.gae_lambda_for(mean_trial_steps(trials)),
    )
    returns = advantage + value
    valid_returns, valid_advantage = returns[trials.is_valid], advantage[trials.is_valid]
    explained = 1.0 - valid_advantage.var(correction=0) / valid_returns.var(correction=0).clamp(min=1e-8)
    critic.follow(valid_returns, valid_advantage)
    # The scale includes the critic's lag (it is not centred), so steps are small while the lag is large.
    # Steps of segments have no common place in their trials, so only the mean over the batch is usual.
    centred = about_usual if trials.segment is None else about_mean
    advantage = centred(advantage, trials.is_valid) / critic.advantage_size
    targets = Targets(log_prob=trials.log_prob, advantage=advantage, normalised_return=critic.normalise(returns))
    return targets, explained
