"""Coarse images: observations with images as few numbers, for uses outside of a policy that need no detail.

Shapes: N observations, D bytes of an observation, K values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.spaces import ObservationSpec

MAX_AREAS = 8
"""Largest number of areas along a side of an image."""


def coarse_values(observations: NDArray[np.uint8], spec: ObservationSpec) -> NDArray[np.float32]:
    """Return [N, K], the values that are not pixels and the mean colours, from 0 to 1, of the areas of each image.

    Args:
        observations: [N, D].
        spec: their description, with at least one image.
    """
    numbers = np.ascontiguousarray(observations[:, : spec.numbers_bytes]).view(np.float32)
    values, start = [numbers.reshape(len(observations), spec.size)], spec.numbers_bytes
    for image in spec.images:
        pixels = observations[:, start : start + image.num_bytes]
        start += image.num_bytes
        of_rows = _means(pixels.reshape(-1, image.height, image.width * image.channels), axis=1)
        of_areas = _means(of_rows.reshape(len(of_rows), -1, image.width, image.channels), axis=2)
        values.append(of_areas.reshape(len(of_areas), -1) / np.float32(255.0))
    return np.concatenate(values, axis=1)


def _means(values: NDArray[np.generic], *, axis: int) -> NDArray[np.float32]:
    """Return the means of at most ``MAX_AREAS`` stretches of nearly equal length along an axis."""
    size = values.shape[axis]
    edges = np.linspace(0, size, min(size, MAX_AREAS) + 1).astype(np.int64)
    sums = np.add.reduceat(values, edges[:-1], axis=axis, dtype=np.float32)
    shape = [1] * values.ndim
    shape[axis] = -1
    return (sums / np.diff(edges).reshape(shape)).astype(np.float32)
