"""Forward transfer: what a family gains before its first practice from what others have taught.

This is the jump start (Taylor & Stone 2009, "Transfer learning for reinforcement learning domains: a survey", JMLR 10):
the score at the start of practice minus the score of a policy that learned nothing, on the same held-out tasks.

The policy that learned nothing has new parameters in all its parts. The start ``fresh`` of
:class:`~agent.learners.rl2.warm_start.WarmStart` is such a policy too, with other random numbers; with images it has
the encoder that all families with images share.
"""

from __future__ import annotations

import math

import torch

from agent.learners.evaluation.trials import HeldOutReturns, Scale
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.warm_start import WarmStart
from agent.trainer.score_scale import scale_of
from envs.spaces import SpacePair
from memory.records import CurveMetric, CurvePoint, Family

FRESH_SEED = 20_090_716
"""Seed of the parameters of policies that learned nothing. It is fixed, so that measurements are repeatable."""


def fresh_policy(config: RL2Config, spaces: SpacePair, *, device: torch.device) -> RL2Policy:
    """Return a policy with new parameters in all its parts."""
    generator = torch.Generator().manual_seed(FRESH_SEED)
    policy = RL2Policy(config, device=device)
    policy.add_pair(spaces, generator=generator)
    return policy


def fresh_point(returns: HeldOutReturns) -> CurvePoint:
    """Return the curve point of the returns of a policy that learned nothing."""
    return CurvePoint(metric=CurveMetric.FRESH_RETURN, value=returns.mean, standard_error=returns.standard_error)


def transfer_point(returns: HeldOutReturns, fresh: CurvePoint, scale: Scale) -> CurvePoint:
    """Return the curve point of the forward transfer.

    Args:
        returns: the returns before the first practice.
        fresh: the return of a policy that learned nothing, on the same tasks.
        scale: the family's scale.
    """
    return CurvePoint(
        metric=CurveMetric.FORWARD_TRANSFER,
        value=scale.error(returns.mean - fresh.value),
        # The tasks are the same, so the error of the difference is mostly smaller than that of independent returns.
        standard_error=scale.error(math.hypot(returns.standard_error, fresh.standard_error or 0.0)),
    )


def zero_shot_points(family: Family, returns: HeldOutReturns, start: WarmStart) -> tuple[CurvePoint, ...]:
    """Return the points of an evaluation before the first practice; the label is what the policy began with."""
    scale, error = scale_of(family), returns.standard_error
    trial_return = CurvePoint(
        metric=CurveMetric.ZERO_SHOT_RETURN, label=str(start), value=returns.mean, standard_error=error
    )
    if scale is None:
        return (trial_return,)
    score = CurvePoint(
        metric=CurveMetric.ZERO_SHOT_SCORE,
        label=str(start),
        value=scale.score(returns.mean),
        standard_error=scale.error(error),
    )
    return (trial_return, score)
