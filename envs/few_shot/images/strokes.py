"""Pens: the same drawing with thicker, thinner or softer strokes.

An image x becomes (1 - a) x + a p(x), where p is one of the pens

    thick   the maximum of the 3 × 3 pixels around each pixel,
    thin    0.4 x + 0.6 times the minimum of the 2 × 2 pixels of which it is the last,
    soft    the mean of the 3 × 3 pixels around each pixel,
    softer  the mean of the 5 × 5 pixels around each pixel,

and is then scaled so that its maximum is that of x.

Shapes: I images, P their side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's convention)
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

NUM_PENS = 4
THINNED = 0.6
"""The largest effect of the thin pen: with more, strokes of one or two pixels would vanish."""

FAINTEST = 0.2
"""Lower bound of a maximum in the scaling; images whose maximum is smaller after the pen are not fully restored."""


@dataclass(frozen=True, kw_only=True)
class StrokeConfig:
    """Settings of the change of pens in training images.

    Attributes:
        chance: probability for each image.
    """

    chance: float = 0.4


@dataclass(frozen=True, kw_only=True)
class Pens:
    """The pens of I images.

    Attributes:
        kinds: [I] index of the pen.
        amounts: [I] float32 a; 0 leaves an image unchanged.
    """

    kinds: NDArray[np.int64]
    amounts: NDArray[np.float32]


def draw_pens(config: StrokeConfig, num_images: int, *, generator: np.random.Generator) -> Pens:
    """Draw one pen per image; with probability ``chance`` a is uniform in [0, 1], otherwise 0."""
    is_changed = generator.random(num_images) < config.chance
    amounts = generator.random(num_images) * is_changed
    return Pens(kinds=generator.integers(NUM_PENS, size=num_images), amounts=amounts.astype(np.float32))


def join_pens(pens: Sequence[Pens]) -> Pens:
    """Concatenate the pens of several sets of images."""
    return Pens(
        kinds=np.concatenate([own.kinds for own in pens]), amounts=np.concatenate([own.amounts for own in pens])
    )


def apply_pens(images: Float[Tensor, "I 1 P P"], pens: Pens) -> Float[Tensor, "I 1 P P"]:
    """Draw the images with these pens.

    Args:
        images: bright ink on 0, in [0, 1].
        pens: the I pens.
    """
    drawn = images.clone()
    for kind, pen in enumerate((_thick, _thin, _soft, _softer)):
        chosen = torch.from_numpy(np.flatnonzero((pens.kinds == kind) & (pens.amounts > 0.0))).to(images.device)
        if len(chosen):
            own = images[chosen]
            amounts = torch.from_numpy(pens.amounts).to(images.device)[chosen].view(-1, 1, 1, 1)
            drawn[chosen] = _as_bright(torch.lerp(own, pen(own), amounts), own)
    return drawn


def _thick(images: Tensor) -> Tensor:
    return F.max_pool2d(images, 3, stride=1, padding=1)


def _thin(images: Tensor) -> Tensor:
    smallest = -F.max_pool2d(-F.pad(images, (1, 0, 1, 0)), 2, stride=1)
    return torch.lerp(images, smallest, THINNED)


def _soft(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, 3, stride=1, padding=1)


def _softer(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, 5, stride=1, padding=2)


def _as_bright(drawn: Tensor, before: Tensor) -> Tensor:
    return drawn * (before.amax((1, 2, 3), keepdim=True) / drawn.amax((1, 2, 3), keepdim=True).clamp(min=FAINTEST))
