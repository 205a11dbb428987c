"""The encoder of images: a convolution for each size and number of channels, and a trunk for all families.

    e = relu(conv(pixels))                       of a pair: stride s, so that at most 16 x 16 places are left
    e = relu(conv3(relu(conv3(e, stride 2))))    shared, at most 8 x 8 places, the others are 0
    f = relu(LayerNorm(W e + b))                 shared

The layers of a pair and of the trunk are smaller than those of Mnih et al. 2015 (Nature 518, methods), because a policy
learns on a CPU. Departure: sizes differ between families, so the places that an image lacks are 0.

Shapes: N images, D bytes of an observation, C channels, F features of an image.
"""

from __future__ import annotations

import math
from typing import Final, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from agent.learners.observation_bytes import image_places, pixels_of
from agent.learners.rl2.layers import convolution, linear
from envs.spaces import ImageShape, ObservationSpec

NUM_FEATURES = 64
"""F, the number of features of an image."""

ENTRY_CHANNELS = 16
TRUNK_CHANNELS = 32

MOST_PLACES = 16
"""Places along a side after the first layer."""

TRUNK_SIDE: Final = MOST_PLACES // 2

IMAGES_AT_ONCE = 512
"""Images that are encoded at once."""

MOST_KEPT = 3072
"""With more images, the backward pass encodes each portion again, so that memory is bounded."""


def entry_stride(image: ImageShape) -> int:
    """Return the stride of the first layer of an image."""
    return math.ceil(max(image.height, image.width) / MOST_PLACES)


def entry(image: ImageShape, *, generator: torch.Generator) -> nn.Conv2d:
    """Return the first layer of images of this shape."""
    stride = entry_stride(image)
    kernel = 3 if stride == 1 else 2 * stride
    return convolution(
        image.channels, ENTRY_CHANNELS, kernel, stride=stride, padding=(kernel - stride + 1) // 2, generator=generator
    )


class ImageEncoder(nn.Module):
    """The layers that encode the images of all families.

    Args:
        generator: the source of the initial parameters.
    """

    def __init__(self, *, generator: torch.Generator) -> None:
        super().__init__()
        self.reduce = convolution(ENTRY_CHANNELS, TRUNK_CHANNELS, 3, stride=2, padding=1, generator=generator)
        self.look = convolution(TRUNK_CHANNELS, TRUNK_CHANNELS, 3, stride=1, padding=1, generator=generator)
        self.join = linear(TRUNK_CHANNELS * TRUNK_SIDE**2, NUM_FEATURES, generator=generator, gain=2**0.5)
        self.norm = nn.LayerNorm(NUM_FEATURES)

    def encode(
        self, observation: UInt8[Tensor, "*N D"], spec: ObservationSpec, entries: nn.ModuleList
    ) -> Float[Tensor, "*N F"]:
        """Return the features of the images of observations, those of one image after those of another.

        Args:
            observation: observations with images.
            spec: their description.
            entries: the first layer of each image.
        """
        rows = observation.reshape(-1, observation.shape[-1])
        is_kept = len(rows) <= MOST_KEPT or not torch.is_grad_enabled()
        parts = [self._encode(part, spec, entries, is_kept=is_kept) for part in torch.split(rows, IMAGES_AT_ONCE)]
        return torch.cat(parts).view(*observation.shape[:-1], -1)

    def _encode(self, rows: Tensor, spec: ObservationSpec, entries: nn.ModuleList, *, is_kept: bool) -> Tensor:
        of_images: list[Tensor] = []
        for (image, place), first in zip(image_places(spec), entries, strict=True):
            if is_kept:
                features = self._of_image(rows, image, place, first)
            else:
                features = cast("Tensor", checkpoint(self._of_image, rows, image, place, first, use_reentrant=False))
            of_images.append(features)
        return of_images[0] if len(of_images) == 1 else torch.cat(of_images, dim=1)

    def _of_image(self, rows: Tensor, image: ImageShape, place: slice, first: nn.Module) -> Tensor:
        seen = functional.relu(first(pixels_of(rows, image, place)))
        seen = functional.relu(self.look(functional.relu(self.reduce(seen))))
        missing = (0, TRUNK_SIDE - seen.shape[3], 0, TRUNK_SIDE - seen.shape[2])
        return functional.relu(self.norm(self.join(functional.pad(seen, missing).flatten(1))))
