"""The step size of updates on segments: a share of the learning rate that follows how far updates change the policy.

A segment holds fewer steps than a batch of whole trials, and in families of equal lengths all of its steps are from the
same part of their trials. Its gradients are noisier, and the learning rate that fits whole trials undoes with one
segment what the last one taught. How large a step may be depends on the family, so the share follows the estimate of
KL(old ‖ new), averaged over the minibatches of an update:

    share ← share / 1.5              if KL > .03
    share ← min(1, 1.5 share)        if KL < .01

KL grows with the square of a small step, by 2.25 for a factor of 1.5, so a share that was changed stays between both.

This is the rule by which PPO adapts the coefficient of its KL penalty (Schulman et al. 2017, arXiv:1707.06347, section
4), applied to the learning rate (Rudin et al. 2021, arXiv:2109.11978). Departure: the rate that falls with a family's
updates stays its upper bound.
"""

from __future__ import annotations

LARGEST_KL, SMALLEST_KL = 0.03, 0.01
"""Bounds of KL, in nats per step, between which the share stays."""

FACTOR = 1.5
"""The factor by which the share falls or grows."""

SMALLEST_SHARE = 0.02


def next_rate_share(share: float, kl: float) -> float:
    """Return the share of the learning rate for the next update of a family on a segment.

    Args:
        share: the share that the last update had.
        kl: the mean of KL(old ‖ new) over the minibatches of the last update.
    """
    if kl > LARGEST_KL:
        return max(SMALLEST_SHARE, share / FACTOR)
    if kl < SMALLEST_KL:
        return min(1.0, share * FACTOR)
    return share
