"""The step size of updates on segments: a share of the learning rate that follows how far updates change the policy.

A segment holds fewer steps than a batch of whole trials, and in families of equal lengths all of its steps are from the
same part of their trials. Its gradients are noisier, and the learning rate that fits whole trials undoes with one
segment what the last one taught. How large a step may be depends on the family, so the share follows the estimate of
KL(old ‖ new), averaged over the minibatches of an update:

    share ← share / 1.5          if KL > 2 KL*
    share ← min(1, 1.2 share)    if KL < KL* / 2

This is the rule by which PPO adapts the coefficient of its KL penalty (Schulman et al. 2017, arXiv:1707.06347, section
4), applied to the learning rate (Rudin et al. 2021, arXiv:2109.11978). Departure: the share grows more slowly
than it falls, and the rate that falls with a family's updates stays its upper bound.
"""

from __future__ import annotations

TARGET_KL = 0.015
"""KL*, in nats per step."""

FALL, GROWTH = 1.5, 1.2
"""Factors by which the share falls and grows."""

SMALLEST_SHARE = 0.02


def next_rate_share(share: float, kl: float) -> float:
    """Return the share of the learning rate for the next update of a family on a segment.

    Args:
        share: the share that the last update had.
        kl: the mean of KL(old ‖ new) over the minibatches of the last update.
    """
    if kl > 2.0 * TARGET_KL:
        return max(SMALLEST_SHARE, share / FALL)
    if kl < 0.5 * TARGET_KL:
        return min(1.0, share * GROWTH)
    return share
