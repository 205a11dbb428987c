"""Made-up alphabets: their classes, their drawings and their seeds."""

from __future__ import annotations

import pytest
import torch

from envs.few_shot.images.classes import ImageClasses
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs

SMALL = GlyphConfig(alphabets=4, characters=8, drawers=6, size=42)


def glyphs(config: GlyphConfig = SMALL) -> ImageClasses:
    return draw_glyphs(config)


def test_drawings_of_a_glyph_are_alike_and_glyphs_differ() -> None:
    images = glyphs().images.view(32, 6, -1).float()
    images = torch.nn.functional.avg_pool2d(images.view(-1, 1, 42, 42), 6).view(32, 6, -1)
    centres = images.mean(1)
    within = (images - centres.unsqueeze(1)).square().sum(2).mean()
    between = torch.cdist(centres, centres).square().sum() / (32 * 31)
    assert within < between / 2


def test_the_same_seed_draws_the_same_glyphs() -> None:
    assert torch.equal(glyphs().images, glyphs().images)
    assert not torch.equal(
        glyphs().images, glyphs(GlyphConfig(alphabets=4, characters=8, drawers=6, size=42, seed=1)).images
    )


def test_every_character_of_every_alphabet_is_a_class_with_a_drawing_by_each_drawer() -> None:
    reported: list[int] = []
    drawn = draw_glyphs(SMALL, report=reported.append)
    assert drawn.images.shape == (4 * 8 * 6, 42, 42)
    assert [(found.group, found.name) for found in drawn.classes] == [
        (f"alphabet{alphabet:02d}", f"character{character:02d}") for alphabet in range(4) for character in range(8)
    ]
    assert [(found.start, found.count) for found in drawn.classes] == [(6 * index, 6) for index in range(32)]
    assert reported == [6 * (index + 1) for index in range(32)]


@pytest.mark.parametrize("size", [16, 42, 84])
def test_every_drawing_has_ink_and_most_of_the_sheet_stays_empty(size: int) -> None:
    images = glyphs(GlyphConfig(alphabets=2, characters=8, drawers=4, size=size)).images
    ink = (images > 0).float().mean((1, 2))
    assert set(images.unique().tolist()) == {0, 255}
    assert ink.min() > 0.01
    assert ink.max() < 0.5


def test_drawings_without_jitter_and_slant_are_equal() -> None:
    config = GlyphConfig(alphabets=1, characters=3, drawers=4, size=42, point_jitter=0.0, place_jitter=0.0, slant=0.0)
    drawings = glyphs(config).images.view(3, 4, 42, 42)
    assert torch.equal(drawings, drawings[:, :1].expand(3, 4, 42, 42))
    assert not torch.equal(drawings[0], drawings[1])


def test_an_alphabet_is_the_same_however_many_follow_it() -> None:
    one, four = glyphs(GlyphConfig(alphabets=1, characters=8, drawers=6, size=42)), glyphs()
    assert torch.equal(four.images[: len(one.images)], one.images)
