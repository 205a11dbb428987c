"""Tests of images among observations: which spaces are images, and their bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from envs.gymnasium.host.faults import NonsenseError
from envs.gymnasium.host.images import image_of, image_writer


def box(shape: tuple[int, ...], dtype: Any = np.uint8, low: float = 0, high: float = 255) -> spaces.Box:
    return spaces.Box(low, high, shape, dtype)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (box((56, 56, 3)), (56, 56, 3)),
        (box((3, 56, 40)), (56, 40, 3)),
        (box((4, 84, 84)), (64, 64, 4)),
        (box((84, 84)), (64, 64, 1)),
        (box((210, 160, 3)), (64, 49, 3)),
        (box((512, 8, 1), np.float32), (64, 1, 1)),
        (box((10, 10, 4), np.bool_, 0, 1), (10, 10, 4)),
        (box((12, 10, 10), np.float32, 0, 1), (12, 10, 10)),
        (box((96, 96, 12)), (64, 64, 12)),
        (box((16, 100, 3)), (10, 64, 3)),
    ],
)
def test_an_image_has_height_width_and_channels_and_its_largest_side_is_reduced(
    space: spaces.Box, expected: tuple[int, int, int]
) -> None:
    image = image_of(space, 64)
    assert image is not None
    assert (image.height, image.width, image.source[2]) == expected


@pytest.mark.parametrize(
    "space",
    [
        box((7, 7, 3)),  # codes of MiniGrid's cells
        box((19, 19, 3)),
        box((7, 7, 3), np.float32, 0, 1),
        box((40, 40), np.float32, 0, 1),
        box((40, 40, 13)),
        box((513, 40, 3)),
        box((40, 40, 3), np.float32, -np.inf, np.inf),
        box((4, 84, 84, 3)),
        box((20000,)),
        spaces.Discrete(3),
    ],
)
def test_what_is_no_picture_is_no_image(space: spaces.Space[Any]) -> None:
    assert image_of(space, 64) is None


def test_a_family_without_images_has_none() -> None:
    assert image_of(box((56, 56, 3)), 0) is None


def bytes_of(space: spaces.Box, value: Any, image_size: int = 64) -> Any:
    image = image_of(space, image_size)
    assert image is not None
    out = np.full(image.num_bytes, 77, np.uint8)
    image_writer(space, image, "observation")(value, out)
    return out.reshape(image.height, image.width, image.source[2])


def test_bytes_pass_as_they_are_and_channels_become_the_last_axis() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 30, 40), np.uint8)
    assert np.array_equal(bytes_of(box((3, 30, 40)), pixels), pixels.transpose(1, 2, 0))
    last = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    assert np.array_equal(bytes_of(box((30, 40, 3)), last), last)


@pytest.mark.parametrize(
    ("space", "value", "byte"),
    [
        (box((9, 9, 1), np.bool_, 0, 1), np.ones((9, 9, 1), np.bool_), 255),
        (box((9, 9, 1), np.float32, -1, 1), np.zeros((9, 9, 1), np.float32), 128),
        (box((9, 9, 1), np.float32, -1, 1), np.full((9, 9, 1), 7.0, np.float32), 255),
        (box((9, 9, 1), np.int64, 0, 3), np.full((9, 9, 1), 2), 170),
        (box((30, 30, 1), np.uint8, 0, 5), np.full((30, 30, 1), 5, np.uint8), 255),
    ],
)
def test_values_are_scaled_from_the_bounds_to_bytes(space: spaces.Box, value: Any, byte: int) -> None:
    assert set(bytes_of(space, value).ravel().tolist()) == {byte}


@pytest.mark.parametrize(("height", "width"), [(128, 96), (96, 96), (210, 160), (65, 30)])
def test_each_pixel_of_a_reduced_image_is_the_mean_of_its_area(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    reduced = bytes_of(box((height, width, 3)), pixels)
    # Each row and then each column becomes as many equal parts as the reduced image has: the means are then exact.
    rows = pixels.astype(np.float64).repeat(reduced.shape[0], 0).reshape(reduced.shape[0], height, width, 3).mean(1)
    means = rows.repeat(reduced.shape[1], 1).reshape(reduced.shape[0], reduced.shape[1], width, 3).mean(2)
    assert np.abs(means - reduced).max() <= 0.51


def test_what_is_not_the_spaces_image_is_nonsense() -> None:
    with pytest.raises(NonsenseError, match=r"should have shape \(30, 40, 3\)"):
        bytes_of(box((30, 40, 3)), np.zeros((40, 30, 3), np.uint8))
    with pytest.raises(NonsenseError, match="NaN"):
        bytes_of(box((30, 40, 3), np.float32, 0, 1), np.full((30, 40, 3), np.nan, np.float32))
    with pytest.raises(NonsenseError, match="numbers"):
        bytes_of(box((30, 40, 3)), np.full((30, 40, 3), "a"))
