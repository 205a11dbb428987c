"""Training tasks of a higher way, from the same classes."""

from __future__ import annotations

import torch

from envs.family import Split
from envs.few_shot.images.folder import ImageTaskConfig
from envs.few_shot.images.glyphs import GlyphConfig
from tests.agent.learners.image_folders import glyph_family

GLYPHS = GlyphConfig(alphabets=4, characters=4, drawers=3, size=24)


def test_they_are_drawn_from_the_training_classes_alone() -> None:
    family = glyph_family(ImageTaskConfig(ways=2, queries=1, size=12, orientations=1, warp=None), GLYPHS)
    wider = family.with_training_ways(5)
    batch = wider.sample(1, split=Split.TRAINING, first_task=0)
    assert batch.support_x.shape == (1, 5, 1, 12, 12)
    assert (family.ways, wider.ways, wider.output_size) == (2, 5, 5)
    training = family.sample(200, split=Split.TRAINING, first_task=0)
    seen = {image.numpy().tobytes() for image in torch.cat([training.support_x, training.query_x], 1).flatten(0, 1)}
    asked = torch.cat([batch.support_x, batch.query_x], 1).flatten(0, 1)
    assert all(image.numpy().tobytes() in seen for image in asked)


def test_there_are_no_more_ways_than_classes_in_their_orientations() -> None:
    family = glyph_family(ImageTaskConfig(ways=2, queries=1, size=12, orientations=4, warp=None), GLYPHS)
    assert family.with_training_ways(1000).ways == 3 * 4 * 4
