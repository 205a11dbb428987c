from __future__ import annotations

import numpy as np

from envs.coarse_images import coarse_values
from envs.spaces import ImageShape, ObservationKind, ObservationSpec


def test_coarse_values_are_the_numbers_and_the_mean_colours_of_the_areas_of_each_image() -> None:
    images = (ImageShape(height=16, width=24, channels=2), ImageShape(height=3, width=1, channels=1))
    spec = ObservationSpec(kind=ObservationKind.IMAGE, size=2, images=images)
    rows = np.random.default_rng(0).integers(0, 256, (4, spec.width), np.uint8)
    rows[:, :8] = np.arange(8, dtype=np.float32).reshape(4, 2).view(np.uint8)
    found = coarse_values(rows, spec)
    assert found.dtype == np.float32
    assert found.shape == (4, 2 + 8 * 8 * 2 + 3)
    assert found[2, :2].tolist() == [4.0, 5.0]
    means = rows[2, 8:-3].reshape(8, 2, 8, 3, 2).mean((1, 3)) / 255.0
    np.testing.assert_allclose(found[2, 2:-3].reshape(8, 8, 2), means, atol=1e-6)
    np.testing.assert_allclose(found[2, -3:], rows[2, -3:] / 255.0, atol=1e-6)


def test_areas_of_an_image_whose_sides_are_no_multiple_cover_it() -> None:
    images = (ImageShape(height=11, width=10, channels=1),)
    spec = ObservationSpec(kind=ObservationKind.IMAGE, size=0, images=images)
    assert np.allclose(coarse_values(np.full((2, 110), 255, np.uint8), spec), 1.0)
