"""Scales: running ones of a policy's inputs, and of a critic's outputs without disturbing them (PopArt); a fixed one.

Shapes: ``*N`` any leading dimensions, R rows, D features, Y input width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from agent.rl2.layers import linear

MIN_SPREAD = 1e-3
MAX_MAGNITUDE = 1e9
"""Largest value that a scale takes into account; its square is far from float32's end."""

MAX_OUTLIER = 100.0
"""Spreads from the mean beyond which a value counts as this far."""

MAX_COUNT = 1e7
"""Beyond this many rows the oldest are forgotten, so that a scale can still follow."""


def symlog(values: Tensor) -> Tensor:
    """sign(x) log(1 + |x|) (Hafner et al. 2023, arXiv:2301.04104, eq. 9)."""
    return values.sign() * values.abs().log1p()


class Normaliser(nn.Module):
    """Mean and spread of D features over all rows seen so far; standard until then.

    Merging batches: Chan, Golub & LeVeque 1979, "Updating formulae", eq. 2.1.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("count", torch.zeros(()))

    @property
    def spread(self) -> Float[Tensor, " D"]:
        """Standard deviation, kept off zero."""
        return self.variance.sqrt().clamp_(min=MIN_SPREAD)

    @torch.no_grad()
    def update(self, rows: Float[Tensor, "R D"], *, is_centred: bool = True) -> None:
        """Take R rows into account.

        Args:
            rows: the rows, none of them padding.
            is_centred: whether to follow the mean; if not it stays 0 and the spread is the root mean square.
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
        """Rows held within ``MAX_OUTLIER`` spreads of the mean once it is known, and within ``MAX_MAGNITUDE`` always.

        Families of equal spaces share a scale: what one of them gives must not blind the others.
        """
        rows = rows.clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE)
        reach = torch.where(self.count > 0, self.spread * MAX_OUTLIER, torch.full_like(self.spread, MAX_MAGNITUDE))
        return torch.minimum(torch.maximum(rows, self.mean - reach), self.mean + reach)


class PopArtCritic(nn.Module):
    """V in normalised units, with the scale that turns them into returns (van Hasselt et al. 2016, arXiv:1602.07714).

    V = σ (w · relu(W y + b) + c) + μ. When the scale moves to σ', μ', the last layer moves with it so that V does not:
    w ← w σ / σ',  c ← (σ c + μ - μ') / σ'.

    Args:
        num_features: Y, width of what it judges by.
        size: width of its hidden layer.
        rate: how fast the scale follows, per update; the first updates are averaged.
        generator: draws its initial parameters.
    """

    mean: Tensor
    mean_square: Tensor
    advantage_square: Tensor
    num_updates: Tensor

    def __init__(self, num_features: int, size: int, *, rate: float, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = linear(num_features, size, generator=generator, gain=2**0.5)
        self.last = linear(size, 1, generator=generator, gain=0.1)
        self._rate = rate
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("mean_square", torch.ones(()))
        self.register_buffer("advantage_square", torch.ones(()))
        self.register_buffer("num_updates", torch.zeros(()))

    @property
    def advantage_size(self) -> Float[Tensor, ""]:
        """Root mean square of advantages, their mean counted in."""
        return self.advantage_square.sqrt().clamp(min=1e-6)

    @property
    def spread(self) -> Float[Tensor, ""]:
        """σ."""
        return (self.mean_square - self.mean.square()).clamp(min=1e-6).sqrt()

    def forward(self, features: Float[Tensor, "*N Y"]) -> Float[Tensor, "*N"]:
        """V in normalised units."""
        judged: Tensor = self.last(functional.relu(self.hidden(features)))
        return judged.squeeze(-1)

    def value(self, features: Float[Tensor, "*N Y"]) -> Float[Tensor, "*N"]:
        """V in units of return."""
        return self.forward(features) * self.spread + self.mean

    def normalise(self, returns: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """Returns in normalised units."""
        return (returns - self.mean) / self.spread

    @torch.no_grad()
    def follow(self, returns: Float[Tensor, " R"], advantages: Float[Tensor, " R"]) -> None:
        """Move the scales towards these steps' and the last layer with them, so that every V stays."""
        mean, spread = self.mean.clone(), self.spread
        self.num_updates += 1
        rate = (1.0 / self.num_updates).clamp(min=self._rate)
        self.mean.lerp_(returns.mean(), rate)
        self.mean_square.lerp_(returns.square().mean(), rate)
        self.advantage_square.lerp_(advantages.square().mean(), rate)
        ratio = spread / self.spread
        self.last.weight.mul_(ratio)
        self.last.bias.mul_(ratio).add_((mean - self.mean) / self.spread)
