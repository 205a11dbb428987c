"""Normalisation: running scales of a policy's inputs, a critic with a running output scale (PopArt), and symlog.

Shapes: ``*N`` any leading dimensions, R rows, D features, Y input width.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from agent.learners.rl2.layers import linear

MIN_SPREAD = 1e-3
SMALL_REWARDS = 1e-5
"""A root mean square of rewards below this is that of small rewards, and is not raised to ``MIN_SPREAD``.

Rare rewards of usual size give larger ones: 1e-4 if one step in 1e8 is paid 1.
"""

USUAL_REWARDS = (1e-3, 1e3)
"""Largest absolute rewards for which a critic's unit is 1."""

MAX_MAGNITUDE = 1e9
"""Larger values are clipped before they enter a scale; the square of this bound is far below float32's maximum."""

MAX_OUTLIER = 100.0
"""Values further from the mean than this many standard deviations are clipped to that distance."""

IMPOSSIBLE = 10.0
"""A critic's mean beyond this many times the largest possible value is left from a divergence."""

MIN_DISCOUNTING = 1e-6
"""Lower bound of 1 - γ where it is divided by."""

MAX_COUNT = 1e7
"""Upper bound of the row count, so that a scale still follows new rows."""


def symlog(values: Tensor) -> Tensor:
    """Return sign(x) log(1 + |x|) (Hafner et al. 2023, arXiv:2301.04104, eq. 9)."""
    return values.sign() * values.abs().log1p()


class Normaliser(nn.Module):
    """A running mean and standard deviation of D features over all rows so far; 0 and 1 before the first row.

    Batches are merged as in Chan, Golub & LeVeque 1979, "Updating formulae", eq. 2.1.

    Args:
        size: D.
        small_below: standard deviations below this, except 0, are kept; 0 keeps none.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, size: int, *, small_below: float = 0.0) -> None:
        super().__init__()
        self._small_below = small_below
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("count", torch.zeros(()))

    @property
    def spread(self) -> Float[Tensor, " D"]:
        """The standard deviation, at least ``MIN_SPREAD`` unless it is that of small values."""
        deviation = self.variance.sqrt()
        is_small = (deviation > 0) & (deviation < self._small_below)
        return torch.where(is_small, deviation, deviation.clamp(min=MIN_SPREAD))

    @torch.no_grad()
    def update(self, rows: Float[Tensor, "R D"], *, is_centred: bool = True) -> None:
        """Update the scale with R rows.

        Args:
            rows: the rows, without padding.
            is_centred: whether to follow the mean; if False the mean stays 0 and the spread is the root mean square.
        """
        if len(rows) == 0:
            return
        rows = self._bounded(rows)
        mean = rows.mean(0) if is_centred else torch.zeros_like(self.mean)
        variance = (rows - mean).square().mean(0)
        total = self.count + len(rows)
        share = len(rows) / total
        shift = mean - self.mean
        variance = variance * share + self.variance * (1.0 - share) + shift.square() * share * (1.0 - share)
        self.variance.copy_(variance)
        self.mean.add_(shift * share)
        self.count.copy_(total.clamp(max=MAX_COUNT))

    def _bounded(self, rows: Float[Tensor, "R D"]) -> Float[Tensor, "R D"]:
        """Clip rows to ``MAX_MAGNITUDE``, and to ``MAX_OUTLIER`` standard deviations around the mean once it is known.

        Families with equal spaces share a scale. Without clipping, outliers of one family would shrink the inputs of
        the others.
        """
        rows = rows.clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE)
        reach = torch.where(self.count > 0, self.spread * MAX_OUTLIER, torch.full_like(self.spread, MAX_MAGNITUDE))
        return torch.minimum(torch.maximum(rows, self.mean - reach), self.mean + reach)


class PopArtCritic(nn.Module):
    """A critic V in normalised units, with the scale that converts them to returns.

    The method is PopArt (van Hasselt et al. 2016, arXiv:1602.07714): V = σ (w · relu(W y + b) + c) + μ. When the scale
    moves to σ', μ', the last layer is adjusted so that V does not change: w ← w σ / σ',  c ← (σ c + μ - μ') / σ'.

    Rewards and values are in the critic's unit: 1 for rewards of usual size, else a power of two near the largest
    reward (:meth:`in_unit`). Without it, the values of an untrained critic would hide rewards of 1e-6.

    Args:
        num_features: Y, width of the critic's input.
        size: width of the hidden layer.
        rate: update rate of the scale per update; the first updates are averaged.
        generator: the source of the initial parameters.
    """

    mean: Tensor
    mean_square: Tensor
    advantage_square: Tensor
    num_updates: Tensor
    lowest_reward: Tensor
    highest_reward: Tensor
    reward_unit: Tensor

    def __init__(self, num_features: int, size: int, *, rate: float, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = linear(num_features, size, generator=generator, gain=2**0.5)
        self.last = linear(size, 1, generator=generator, gain=0.1)
        self._rate = rate
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("mean_square", torch.ones(()))
        self.register_buffer("advantage_square", torch.ones(()))
        self.register_buffer("num_updates", torch.zeros(()))
        self.register_buffer("lowest_reward", torch.zeros(()))
        self.register_buffer("highest_reward", torch.zeros(()))
        self.register_buffer("reward_unit", torch.ones(()))

    @property
    def advantage_size(self) -> Float[Tensor, ""]:
        """The root mean square of advantages, not centred."""
        return self.advantage_square.sqrt().clamp(min=1e-6)

    @property
    def spread(self) -> Float[Tensor, ""]:
        """σ, the standard deviation of returns."""
        return (self.mean_square - self.mean.square()).clamp(min=1e-6).sqrt()

    def forward(self, features: Float[Tensor, "*N Y"]) -> Float[Tensor, "*N"]:
        """Return V in normalised units."""
        judged: Tensor = self.last(functional.relu(self.hidden(features)))
        return judged.squeeze(-1)

    def value(self, features: Float[Tensor, "*N Y"]) -> Float[Tensor, "*N"]:
        """Return V in units of return."""
        return self.forward(features) * self.spread + self.mean

    def normalise(self, returns: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """Convert returns to normalised units."""
        return (returns - self.mean) / self.spread

    @torch.no_grad()
    def choose_unit(self, rewards: Float[Tensor, " R"]) -> None:
        """Choose the critic's unit by the first rewards that are not 0; it stays afterwards.

        Args:
            rewards: rewards of valid steps, in the environment's units.
        """
        if bool(self.lowest_reward != 0) or bool(self.highest_reward != 0):
            return
        largest = float(rewards.abs().max())
        if largest > 0 and not USUAL_REWARDS[0] <= largest <= USUAL_REWARDS[1]:
            self.reward_unit.fill_(2.0 ** round(math.log2(largest)))

    def in_unit(self, rewards: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """Return rewards, given in the environment's units, in the critic's unit."""
        return rewards / self.reward_unit

    @torch.no_grad()
    def follow_rewards(self, rewards: Float[Tensor, " R"], discount: float) -> None:
        """Widen the range of rewards that :meth:`bounded` uses, and reset the scale if it is far beyond all returns.

        Such a scale is left from a divergence. It would need thousands of updates to fall by itself.
        """
        self.lowest_reward.copy_(torch.minimum(self.lowest_reward, rewards.min()))
        self.highest_reward.copy_(torch.maximum(self.highest_reward, rewards.max()))
        low, high = self._bounds(discount)
        is_impossible = self.mean.abs() > IMPOSSIBLE * torch.maximum(-low, high).clamp(min=1.0)
        self.num_updates.masked_fill_(is_impossible, 0.0)
        self.mean.masked_fill_(is_impossible, 0.0)
        for square in (self.mean_square, self.advantage_square):
            square.masked_fill_(is_impossible, 1.0)
        for parameter in self.last.parameters():
            parameter.masked_fill_(is_impossible, 0.0)

    def bounded(self, value: Float[Tensor, "*N"], discount: float) -> Float[Tensor, "*N"]:
        """Limit values to what the lowest and the highest reward so far would give if they were earned for ever.

        Values of final observations need it. The critic is never trained there, and a value that it overestimates by
        more than 1/γ would raise itself through the values that are bootstrapped from it, without end.
        """
        low, high = self._bounds(discount)
        return torch.minimum(torch.maximum(value, low), high)

    def _bounds(self, discount: float) -> tuple[Tensor, Tensor]:
        """Return the lowest and the highest possible value. An episode may end at once, so 0 is always possible."""
        horizon = 1.0 / max(1.0 - discount, MIN_DISCOUNTING)
        return self.lowest_reward * horizon, self.highest_reward * horizon

    @torch.no_grad()
    def follow(self, returns: Float[Tensor, " R"], advantages: Float[Tensor, " R"]) -> None:
        """Move the scales towards those of these steps, and adjust the last layer so that no V changes."""
        mean, spread = self.mean.clone(), self.spread
        self.num_updates += 1
        rate = (1.0 / self.num_updates).clamp(min=self._rate)
        self.mean.lerp_(returns.mean(), rate)
        self.mean_square.lerp_(returns.square().mean(), rate)
        self.advantage_square.lerp_(advantages.square().mean(), rate)
        ratio = spread / self.spread
        self.last.weight.mul_(ratio)
        self.last.bias.mul_(ratio).add_((mean - self.mean) / self.spread)
