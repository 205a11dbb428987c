"""Tests of the parts of observations with images."""

from __future__ import annotations

import numpy as np
import torch

from agent.learners.observation_bytes import (
    ROWS_AT_ONCE,
    image_places,
    numbers_of,
    pixels_of,
    summaries,
    summary_size,
)
from envs.spaces import ImageShape, ObservationKind, ObservationSpec

SPEC = ObservationSpec(
    kind=ObservationKind.IMAGE,
    size=2,
    images=(ImageShape(height=24, width=36, channels=2), ImageShape(height=3, width=2, channels=1)),
)


def observations(num_rows: int) -> torch.Tensor:
    drawn = torch.randint(256, (num_rows, SPEC.width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    drawn[:, :8] = torch.arange(2.0 * num_rows).view(num_rows, 2).view(torch.uint8)
    return drawn


def test_numbers_are_the_first_bytes_wherever_a_row_begins() -> None:
    rows = observations(6)
    for start in range(6):
        expected = torch.tensor([2.0 * start, 2.0 * start + 1.0])
        assert torch.equal(numbers_of(rows[start], SPEC), expected)
        assert torch.equal(numbers_of(rows.view(2, 3, -1)[start // 3, start % 3 : start % 3 + 1], SPEC)[0], expected)


def test_pixels_are_rows_of_columns_of_channels_from_0_to_1() -> None:
    rows = observations(2)
    (first, of_first), (second, of_second) = image_places(SPEC)
    expected = rows[1, 8 : 8 + 24 * 36 * 2].view(24, 36, 2).permute(2, 0, 1).float() / 255.0
    torch.testing.assert_close(pixels_of(rows, first, of_first)[1], expected)
    torch.testing.assert_close(pixels_of(rows, second, of_second)[1].flatten(), rows[1, -6:].float() / 255.0)


def test_a_summary_has_the_numbers_and_the_mean_colours_of_areas() -> None:
    rows = observations(4).view(2, 2, -1)
    found = summaries(rows, SPEC)
    assert found.shape == (2, 2, summary_size(SPEC)) == (2, 2, 2 + 2 * 12 * 12 + 6)
    assert found[1, 0, :2].tolist() == [4.0, 5.0]
    pixels = rows[1, 0, 8 : 8 + 24 * 36 * 2].numpy().reshape(12, 2, 12, 3, 2).mean((1, 3)) / 255.0
    np.testing.assert_allclose(found[1, 0, 2 : 2 + 288].view(2, 12, 12).permute(1, 2, 0), pixels, atol=1e-6)
    torch.testing.assert_close(found[1, 0, -6:], rows[1, 0, -6:].float() / 255.0)


def test_summaries_of_many_observations_are_those_of_each() -> None:
    spec = ObservationSpec(kind=ObservationKind.IMAGE, size=0, images=(ImageShape(height=8, width=8, channels=1),))
    rows = torch.randint(256, (ROWS_AT_ONCE + 3, 64), dtype=torch.uint8)
    torch.testing.assert_close(summaries(rows, spec)[-3:], summaries(rows[-3:], spec))
