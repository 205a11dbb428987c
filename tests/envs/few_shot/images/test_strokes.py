"""Other pens: thicker, thinner and softer strokes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from envs.family import Split
from envs.few_shot.images.folder import ImageFamily, ImageTaskConfig
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from envs.few_shot.images.strokes import NUM_PENS, Pens, StrokeConfig, apply_pens, draw_pens, join_pens

THICK, THIN, SOFT, SOFTER = range(NUM_PENS)


def line() -> Tensor:
    """A vertical stroke of two pixels."""
    image = torch.zeros(1, 1, 12, 12)
    image[..., 2:10, 5:7] = 0.8
    return image


def by_pen(kind: int, amount: float) -> Tensor:
    return apply_pens(line(), Pens(kinds=np.array([kind]), amounts=np.array([amount], np.float32)))


@pytest.mark.parametrize("kind", range(NUM_PENS))
def test_a_pen_that_is_not_pressed_changes_nothing(kind: int) -> None:
    assert torch.equal(by_pen(kind, 0.0), line())


@pytest.mark.parametrize("kind", range(NUM_PENS))
def test_strokes_stay_as_bright_at_their_brightest(kind: int) -> None:
    assert float(by_pen(kind, 0.7).max()) == pytest.approx(0.8)


def test_a_thick_pen_adds_a_pixel_all_around_and_a_thin_one_takes_ink_away() -> None:
    assert torch.equal(by_pen(THICK, 1.0)[0, 0, 5] > 0, torch.arange(12).sub(5.5).abs() < 2)
    thin = by_pen(THIN, 1.0)
    assert thin[0, 0, 5].tolist() == pytest.approx([0.0] * 5 + [0.32, 0.8] + [0.0] * 5)


def test_soft_pens_spread_the_ink() -> None:
    spread = [int((by_pen(kind, 1.0) > 0).sum()) for kind in (SOFT, SOFTER)]
    assert int((line() > 0).sum()) < spread[0] < spread[1]


def test_each_image_has_its_own_pen() -> None:
    images = torch.cat([line()] * 3)
    pens = join_pens(
        [
            Pens(kinds=np.array([THIN]), amounts=np.ones(1, np.float32)),
            Pens(kinds=np.array([THICK, SOFT]), amounts=np.array([0.0, 1.0], np.float32)),
        ]
    )
    drawn = apply_pens(images, pens)
    torch.testing.assert_close(drawn, torch.cat([by_pen(THIN, 1.0), line(), by_pen(SOFT, 1.0)]))
    assert torch.equal(images, torch.cat([line()] * 3))


def test_pens_fall_as_often_as_they_should() -> None:
    pens = draw_pens(StrokeConfig(chance=0.3), 4_000, generator=np.random.default_rng(0))
    assert np.mean(pens.amounts > 0) == pytest.approx(0.3, abs=0.03)
    assert np.bincount(pens.kinds, minlength=NUM_PENS).min() > 800


def test_only_training_tasks_are_drawn_by_other_pens() -> None:
    glyphs = draw_glyphs(GlyphConfig(alphabets=2, characters=6, drawers=4, size=40))
    one, other = glyphs.hold_out_groups(["alphabet01"])
    plain, drawn = (
        ImageFamily(ImageTaskConfig(size=20, queries=2, strokes=strokes), training=one, held_out=other)
        for strokes in (None, StrokeConfig(chance=1.0))
    )
    for split, is_same in ((Split.TRAINING, False), (Split.HELD_OUT, True)):
        pair = [family.sample(3, split=split, first_task=5) for family in (plain, drawn)]
        assert torch.equal(pair[0].support_x, pair[1].support_x) is is_same
    together, alone = (
        drawn.sample(3, split=Split.TRAINING, first_task=5),
        drawn.sample(1, split=Split.TRAINING, first_task=6),
    )
    assert torch.equal(together.query_x[1:2], alone.query_x)
