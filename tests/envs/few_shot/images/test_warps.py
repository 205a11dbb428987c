"""Small deformations of images, by hand-computed maps and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from envs.few_shot.images.classes import ImageClasses, ink_extents
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from envs.few_shot.images.warps import ORIENTATIONS, WarpConfig, apply_warp, draw_warp, scaled, smooth_for

SMALL = GlyphConfig(alphabets=4, characters=8, drawers=6, size=42)
STILL = WarpConfig(rotation_degrees=0.0, log_scale=0.0, shear=0.0, shift=0.0, bend=0.0)


def glyphs(config: GlyphConfig = SMALL) -> ImageClasses:
    return draw_glyphs(config)


def test_the_eight_orientations_are_those_of_numpy() -> None:
    image = torch.arange(49, dtype=torch.uint8).view(1, 7, 7)
    orientations = np.arange(len(ORIENTATIONS))
    turned = draw_warp(None, orientations, generator=np.random.default_rng(0))
    seen = {tuple(v.tolist()) for v in apply_warp(image.expand(8, 7, 7), turned, size=7).flatten(1).mul(255).round()}
    array = image[0].numpy()
    expected = {tuple(np.rot90(a, k).ravel().tolist()) for a in (array, array.T) for k in range(4)}
    assert seen == expected


def test_an_unwarped_image_of_the_same_size_stays_as_it_is() -> None:
    images = glyphs().images[:5]
    upright = draw_warp(None, np.zeros(5, np.int64), generator=np.random.default_rng(0))
    assert torch.equal(apply_warp(images, upright, size=42).mul(255).round().to(torch.uint8)[:, 0], images)


def test_smoothing_then_thinning_is_the_mean_of_each_square() -> None:
    images = torch.randint(0, 256, (2, 105, 105), dtype=torch.uint8)
    upright = draw_warp(None, np.zeros(2, np.int64), generator=np.random.default_rng(0))
    small = apply_warp(smooth_for(images, 35), upright, size=35)
    means = torch.nn.functional.avg_pool2d(images.float().unsqueeze(1) / 255, 3)
    torch.testing.assert_close(small, means, atol=0.003, rtol=0)


def test_seeing_twice_as_far_halves_the_ink() -> None:
    images = glyphs(GlyphConfig(alphabets=1, characters=4, drawers=2, size=84)).images
    upright = draw_warp(None, np.zeros(1, np.int64), generator=np.random.default_rng(0))
    half = apply_warp(images, scaled(upright, 2.0, num_images=len(images)), size=84)
    extents = ink_extents((half[:, 0] * 255).to(torch.uint8))
    torch.testing.assert_close(extents, ink_extents(images) / 2, atol=0.03, rtol=0)


def test_warps_deform_but_keep_the_ink_on_the_sheet() -> None:
    images = glyphs().images
    warp = draw_warp(WarpConfig(), np.zeros(len(images), np.int64), generator=np.random.default_rng(0))
    warped = apply_warp(images, warp, size=42)
    ratio = warped.mean() / (images.float().mean() / 255)
    assert 0.75 < float(ratio) < 1.25
    assert not torch.equal(warped[:, 0], images.float() / 255)


def test_limits_of_zero_leave_the_map_alone() -> None:
    warp = draw_warp(STILL, np.zeros(3, np.int64), generator=np.random.default_rng(0))
    assert np.array_equal(warp.maps, np.broadcast_to(np.eye(2, 3), (3, 2, 3)))
    assert warp.bends is None


def test_a_shift_by_a_quarter_of_the_side_moves_the_ink_by_as_many_pixels() -> None:
    image = torch.zeros(1, 8, 8, dtype=torch.uint8)
    image[0, 2, 3] = 255
    warp = draw_warp(STILL, np.zeros(1, np.int64), generator=np.random.default_rng(0))
    warp.maps[0, :, 2] = (0.5, -0.5)  # the coordinates run from -1 to 1: two of eight pixels to the left and down
    shown = apply_warp(image, warp, size=8)[0, 0]
    assert shown.nonzero().tolist() == [[4, 1]]
    assert shown[4, 1].item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("limits", "low", "high"),
    [
        ({"rotation_degrees": 30.0}, np.cos(np.pi / 6), 1.0),
        ({"log_scale": 0.5}, np.exp(-0.5), np.exp(0.5)),
    ],
)
def test_maps_fill_their_limits_and_stay_within_them(limits: dict[str, float], low: float, high: float) -> None:
    config = WarpConfig(**{**STILL.__dict__, **limits})
    maps = draw_warp(config, np.zeros(2000, np.int64), generator=np.random.default_rng(0)).maps
    diagonal = maps[:, 0, 0]
    assert low - 1e-6 <= diagonal.min() < low + 0.02
    assert high - 0.02 < diagonal.max() <= high + 1e-6


def test_a_shift_and_a_bend_are_shares_of_the_side() -> None:
    config = WarpConfig(**{**STILL.__dict__, "shift": 0.1, "bend": 0.05})
    warp = draw_warp(config, np.zeros(2000, np.int64), generator=np.random.default_rng(0))
    assert np.abs(warp.maps[:, :, 2]).max() == pytest.approx(0.2, abs=2e-3)
    assert warp.bends is not None
    assert warp.bends.std() == pytest.approx(0.1, rel=0.02)
