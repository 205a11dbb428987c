"""The recipes that learners are trained by unless told otherwise."""

from __future__ import annotations

import pytest
import torch

from agent.learners import factory
from agent.learners.recipes import RECIPES, RecipeError, TaskKind, kind_of, recipe_for
from envs.few_shot.images.folder import ImageTaskConfig
from envs.few_shot.images.glyphs import GlyphConfig
from envs.few_shot.sinusoids import ForkedSinusoids, Sinusoids
from envs.few_shot.tasks import FewShotShapes
from tests.agent.learners.cases import SHAPES, generator
from tests.agent.learners.image_folders import glyph_family

IMAGES = FewShotShapes(input_shape=(1, 28, 28), output_size=5, is_classification=True)
ALL = [(kind, learner) for kind, recipes in RECIPES.items() for learner in recipes]


@pytest.mark.parametrize(("kind", "name"), ALL, ids=[f"{name}, {kind}" for kind, name in ALL])
def test_equal_generators_make_equal_learners_whatever_else_was_drawn(kind: TaskKind, name: str) -> None:
    shapes, config = IMAGES if kind is TaskKind.IMAGES else SHAPES, recipe_for(name, kind).config(100)
    one = factory.build(name, shapes, config, generator=generator()).to_tensors()
    torch.rand(7)
    other = factory.build(name, shapes, config, generator=generator()).to_tensors()
    assert all(torch.equal(one[tensor], other[tensor]) for tensor in one)


def test_every_registered_learner_has_a_recipe() -> None:
    assert {name for recipes in RECIPES.values() for name in recipes} == set(factory.FEW_SHOT_LEARNERS)


def test_a_familys_kind_is_told_from_its_tasks() -> None:
    glyphs = glyph_family(
        ImageTaskConfig(ways=2, queries=1, size=12), GlyphConfig(alphabets=2, characters=3, drawers=2, size=24)
    )
    assert kind_of(glyphs) is TaskKind.IMAGES
    assert kind_of(Sinusoids()) is TaskKind.REGRESSION
    assert kind_of(ForkedSinusoids()) is TaskKind.AMBIGUOUS_REGRESSION


def test_who_cannot_learn_such_tasks_has_no_recipe() -> None:
    with pytest.raises(RecipeError, match="maml, reptile, meta-sgd, platipus, versa"):
        recipe_for("matching", TaskKind.REGRESSION)
