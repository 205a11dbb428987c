"""Images among observations: which spaces are images, and their conversion to bytes of a bounded size.

An image travels as height x width x channels bytes. Its values are scaled from the space's bounds to 0 … 255, and an
image whose largest side exceeds the family's is reduced by averaging areas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from .faults import NonsenseError
from .spaces import MAX_OBSERVATION_SIZE, NUMBER_KINDS

MAX_CHANNELS = 12

MAX_SIDE = 512

MIN_SIDE = 8
"""Smaller arrays are vectors."""

MIN_SIDE_OF_BYTES = 24
"""Smaller arrays of bytes are vectors: grids of codes, such as those of MiniGrid, are not colours.

Arrays that are too large for a vector are images nevertheless.
"""

MAX_BYTE = 255.0


@dataclass(frozen=True)
class Image:
    """An image as it is observed, and its size as it travels.

    Attributes:
        source: height, width and channels of the environment's image.
        height, width: its size as it travels.
        axes: the order of the space's axes that gives height, width and channels; None for an image of two dimensions.
    """

    source: tuple[int, int, int]
    height: int
    width: int
    axes: tuple[int, int, int] | None

    @property
    def num_bytes(self) -> int:
        """The number of bytes as it travels."""
        return self.height * self.width * self.source[2]

    def to_json(self) -> dict[str, int]:
        """Return the JSON values of ``envs.spaces.ImageShape``."""
        return {"height": self.height, "width": self.width, "channels": self.source[2]}


def image_of(space: spaces.Space[Any], image_size: int) -> Image | None:
    """Return the image that a space is; None if its values are a vector.

    An image is a Box with finite bounds of height, width and at most ``MAX_CHANNELS`` channels (first or last), or of
    height and width alone. Small grids of bytes are vectors.

    Args:
        space: an observation space, or a part of one.
        image_size: the largest side of an image as it travels; 0 if the family has no images.
    """
    if not image_size or not isinstance(space, spaces.Box) or len(space.shape) not in {2, 3}:
        return None
    is_bytes = space.dtype == np.uint8
    if len(space.shape) == 2 and not is_bytes:
        return None
    axes = _axes(space.shape)
    height, width, channels = (*space.shape, 1) if axes is None else (space.shape[axis] for axis in axes)
    is_vector_possible = np.prod(space.shape, dtype=np.int64) <= MAX_OBSERVATION_SIZE
    smallest = MIN_SIDE_OF_BYTES if is_bytes and is_vector_possible else MIN_SIDE
    if min(height, width) < smallest or max(height, width) > MAX_SIDE or channels > MAX_CHANNELS:
        return None
    if not _has_range(space):
        return None
    reduction = max(1.0, max(height, width) / image_size)
    source = height, width, channels
    return Image(source, max(1, round(height / reduction)), max(1, round(width / reduction)), axes)


def _axes(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    if len(shape) == 2:
        return None
    return (1, 2, 0) if shape[0] < shape[2] else (0, 1, 2)


def _has_range(space: spaces.Box) -> bool:
    """Return whether the space has finite bounds and at least two values."""
    low, high = float(space.low.min()), float(space.high.max())
    return math.isfinite(low) and math.isfinite(high) and low < high


def image_hint(space: spaces.Space[Any]) -> str:
    """Return the reason why a large array is no image, and what to do; an empty text if it does not look like one."""
    if not isinstance(space, spaces.Box) or len(space.shape) not in {3, 4}:
        return ""
    if len(space.shape) == 4:
        return "A stack of images is not supported: gymnasium.wrappers.GrayscaleObservation before the stack gives one."
    if not _has_range(space):
        return "An image needs finite bounds, such as 0 and 255: give its Box low and high."
    limits = f"An image has sides of {MIN_SIDE} to {MAX_SIDE} and at most {MAX_CHANNELS} channels, first or last"
    if sorted(space.shape)[1] > MAX_SIDE or sorted(space.shape)[2] > MAX_SIDE:
        return f"{limits}: wrap the environment in gymnasium.wrappers.ResizeObservation."
    return (
        f"{limits}: observe fewer channels, in a wrapper of your own or with gymnasium.wrappers.GrayscaleObservation."
    )


def image_writer(space: spaces.Space[Any], image: Image, name: str) -> Callable[[Any, Any], None]:
    """Return a function (observation, out uint8) that checks an image and writes its bytes to ``out``."""
    shape, axes = tuple(space.shape or ()), image.axes
    to_bytes = _converter(space, name)
    target = (image.height, image.width, image.source[2])
    is_plain = axes != (1, 2, 0) and target == image.source
    if is_plain and space.dtype == np.bool_:
        return _switch_writer(shape, name)
    reduce = None if target == image.source else _reducer(image)

    def write(value: Any, out: Any) -> None:
        if value.__class__ is not np.ndarray or value.shape != shape:
            value = _array_of(value, shape, name)
        pixels = to_bytes(value)
        if is_plain:
            out[:] = pixels.reshape(-1)
            return
        pixels = pixels[:, :, None] if axes is None else pixels.transpose(axes)
        out.reshape(target)[...] = pixels if reduce is None else reduce(pixels)

    return write


def _switch_writer(shape: tuple[int, ...], name: str) -> Callable[[Any, Any], None]:
    """Return the function of :func:`image_writer` for images of booleans that travel at their own size."""

    def write(value: Any, out: Any) -> None:
        if value.__class__ is not np.ndarray or value.shape != shape or value.dtype != np.bool_:
            value = _array_of(value, shape, name) > 0
        np.multiply(value.reshape(-1).view(np.uint8), np.uint8(MAX_BYTE), out=out)

    return write


def _array_of(value: Any, shape: tuple[int, ...], name: str) -> Any:
    array = np.asarray(value)
    if array.shape != shape:
        raise NonsenseError(f"{name} should have shape {shape}, but it has shape {array.shape}.")
    if array.dtype.kind not in NUMBER_KINDS:
        raise NonsenseError(f"{name} should be numbers, but it is an array of {array.dtype}.")
    return array


def _converter(space: Any, name: str) -> Callable[[Any], Any]:
    """Return a function that scales an image from the space's bounds to bytes; bytes of 0 to 255 pass as they are."""
    low, high = float(space.low.min()), float(space.high.max())
    is_plain = space.dtype == np.uint8 and low == 0.0 and high == MAX_BYTE
    factor = MAX_BYTE / (high - low)

    def convert(value: Any) -> Any:
        if is_plain and value.dtype == np.uint8:
            return value
        if value.dtype.kind not in NUMBER_KINDS:
            raise NonsenseError(f"{name} should be numbers, but it is an array of {value.dtype}.")
        if value.dtype.kind == "b" and factor == MAX_BYTE:
            return value.view(np.uint8) * np.uint8(MAX_BYTE)
        scaled = (value.astype(np.float32) - np.float32(low)) * np.float32(factor)
        if not math.isfinite(float(np.add.reduce(scaled, axis=None))):
            raise NonsenseError(f"{name} holds NaN or infinity.")
        return np.clip(np.rint(scaled), 0.0, MAX_BYTE).astype(np.uint8)

    return convert


def _reducer(image: Image) -> Callable[[Any], Any]:
    """Return a function that averages the areas of an image [H, W, C] that its smaller form has one pixel for."""
    height, width, channels = image.source
    reduce_rows = _line_reducer(height, image.height, width * channels, np.uint8)
    reduce_columns = _line_reducer(width, image.width, image.height * channels, np.float32)

    def reduce(pixels: Any) -> Any:
        by_row = reduce_rows(pixels.reshape(height, -1)).reshape(image.height, width, channels)
        # Columns become rows, because whole rows are copied much faster.
        by_area = reduce_columns(by_row.transpose(1, 0, 2).reshape(width, -1))
        np.add(by_area, np.float32(0.5), out=by_area)
        return by_area.astype(np.uint8).reshape(image.width, image.height, channels).transpose(1, 0, 2)

    return reduce


def _line_reducer(num_lines: int, num_areas: int, width: int, dtype: Any) -> Callable[[Any], Any]:
    """Return a function that averages lines [num_lines, width] to [num_areas, width], in the same array each time."""
    places, weights = _shares(num_lines, num_areas)
    weights = weights[:, :, None]
    taken = np.empty((num_areas, width), dtype)
    weighed, total = (np.empty((num_areas, width), np.float32) for _ in range(2))

    def reduce(lines: Any) -> Any:
        total.fill(0.0)
        for of_area, weight in zip(places, weights, strict=True):
            np.take(lines, of_area, axis=0, out=taken, mode="clip")
            np.multiply(taken, weight, out=weighed)
            np.add(total, weighed, out=total)
        return total

    return reduce


def _shares(size: int, num_areas: int) -> tuple[Any, Any]:
    """Return places and weights [k, areas]: each area of a line of pixels is the weighted sum of k pixels."""
    edges = np.arange(num_areas + 1) * (size / num_areas)
    first = np.floor(edges[:-1] + 1e-9).astype(np.int64)
    last = np.ceil(edges[1:] - 1e-9).astype(np.int64)
    count = int((last - first).max())
    places = first + np.arange(count)[:, None]
    covered = np.minimum(places + 1, edges[1:]) - np.maximum(places, edges[:-1])
    weights = np.clip(covered, 0.0, None) * (num_areas / size)
    return np.minimum(places, size - 1), weights.astype(np.float32)
