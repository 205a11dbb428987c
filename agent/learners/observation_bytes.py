"""The parts of observations with images, which travel as bytes (:mod:`envs.spaces`).

Shapes: ``*N`` any leading dimensions, N rows, D bytes of an observation, V values that are not pixels, C channels, G
values of a summary.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from envs.spaces import ImageShape, ObservationSpec

SUMMARY_SIDE = 12
"""Largest number of areas along a side of an image, of which a summary has the mean colours."""

ROWS_AT_ONCE = 2048
"""Rows that are converted to float32 at once."""


def image_places(spec: ObservationSpec) -> list[tuple[ImageShape, slice]]:
    """Return each image of an observation with the place of its bytes in a row."""
    places, start = [], spec.numbers_bytes
    for image in spec.images:
        places.append((image, slice(start, start + image.num_bytes)))
        start += image.num_bytes
    return places


def numbers_of(observation: UInt8[Tensor, "*N D"], spec: ObservationSpec) -> Float[Tensor, "*N V"]:
    """Return the values of observations that are not pixels."""
    if not spec.size:
        return observation.new_empty(*observation.shape[:-1], 0, dtype=torch.float32)
    # A copy, because a view as float32 needs bytes that begin at a multiple of 4.
    return observation[..., : spec.numbers_bytes].clone(memory_format=torch.contiguous_format).view(torch.float32)


def pixels_of(observation: UInt8[Tensor, "N D"], image: ImageShape, place: slice) -> Float[Tensor, "N C height width"]:
    """Return the pixels of an image of each observation, from 0 to 1."""
    pixels = observation[:, place].reshape(-1, image.height, image.width, image.channels)
    return pixels.permute(0, 3, 1, 2).to(torch.float32).mul_(1.0 / 255.0)


def summary_size(spec: ObservationSpec) -> int:
    """Return G, the number of values of a summary."""
    return spec.size + sum(image.channels * _rows(image) * _columns(image) for image in spec.images)


@torch.no_grad()
def summaries(observation: UInt8[Tensor, "*N D"], spec: ObservationSpec) -> Float[Tensor, "*N G"]:
    """Return the summaries of observations: their values that are not pixels, and images of few areas.

    An in-trial memory compares observations by them, and they have running scales as vectors have.
    """
    rows = observation.reshape(-1, observation.shape[-1])
    found = [_summaries(part, spec) for part in torch.split(rows, ROWS_AT_ONCE)]
    whole = found[0] if len(found) == 1 else torch.cat(found)
    return whole.view(*observation.shape[:-1], -1)


def _summaries(rows: UInt8[Tensor, "N D"], spec: ObservationSpec) -> Float[Tensor, "N G"]:
    parts = [numbers_of(rows, spec)]
    for image, place in image_places(spec):
        areas = functional.adaptive_avg_pool2d(pixels_of(rows, image, place), (_rows(image), _columns(image)))
        parts.append(areas.flatten(1))
    return torch.cat(parts, dim=1)


def _rows(image: ImageShape) -> int:
    return min(image.height, SUMMARY_SIDE)


def _columns(image: ImageShape) -> int:
    return min(image.width, SUMMARY_SIDE)
