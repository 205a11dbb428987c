"""The default training recipe of each few-shot learner for each kind of task: the settings that measured well.

``benchmarks/sinusoid.py`` and ``benchmarks/fewshot`` measure these recipes; ``learnd learn`` and ``learnd compare``
train by them. A learner without a recipe for a kind of task cannot learn such tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agent.errors import AgentError
from agent.learners.embedding.embeddings import EmbeddingConfig, EmbeddingKind
from agent.learners.embedding.matching import MatchingConfig
from agent.learners.embedding.prototypical import PrototypicalConfig
from agent.learners.embedding.training import TrainingConfig
from agent.learners.embedding.versa import VersaConfig
from agent.learners.gradient.maml import MAMLConfig
from agent.learners.gradient.meta_sgd import MetaSGDConfig
from agent.learners.gradient.networks import NetworkConfig
from agent.learners.gradient.platipus import PlatipusConfig
from agent.learners.gradient.reptile import InnerOptimizer, ReptileConfig
from envs.few_shot.images.folder import ImageFamily
from envs.few_shot.sinusoids import ForkedSinusoids
from envs.few_shot.tasks import FewShotFamily

CONV4 = EmbeddingConfig(is_bfloat16=True)
LONG_RUN = 30_000
"""From this number of outer steps on, waves use the lower rate. The benchmark's 60,000 steps end best with it."""

PERCEPTRON = EmbeddingConfig(kind=EmbeddingKind.MLP, channels=(40, 40))
STRIDED = NetworkConfig(channels=(32, 32, 32, 32), is_strided=True, has_zero_head=True)
RESIDUAL = EmbeddingConfig(kind=EmbeddingKind.RESIDUAL, channels=(24, 32, 64, 128), is_bfloat16=True)


class RecipeError(AgentError):
    """An error: no recipe exists for this learner and these tasks."""


class TaskKind(StrEnum):
    """A kind of few-shot tasks with its own recipes."""

    REGRESSION = "regression"
    AMBIGUOUS_REGRESSION = "ambiguous regression"
    IMAGES = "images"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe: how a learner is trained.

    Attributes:
        learner: its name in the registry.
        config: a function from the planned number of updates to its settings.
        tasks_per_update: M.
        training_ways: N of training tasks, if larger than that of the tasks it is tested on.
    """

    learner: str
    config: Callable[[int], Any]
    tasks_per_update: int
    training_ways: int | None = None

    def training_tasks(self, family: FewShotFamily) -> FewShotFamily:
        """Return the source of training tasks: the family, or its training classes in tasks of a higher way."""
        if self.training_ways is None or not isinstance(family, ImageFamily) or self.training_ways <= family.ways:
            return family
        return family.with_training_ways(self.training_ways)


def wave_rate(planned_updates: int) -> float:
    """Return Adam's rate of MAML's and Meta-SGD's outer steps on waves. Short runs get further with the higher rate."""
    return 1e-3 if planned_updates >= LONG_RUN else 3e-3


def averaged_training(planned_updates: int, learning_rate: float = 2e-3) -> TrainingConfig:
    """Return settings for Adam with a cosine decay over the planned updates, and averaged weights."""
    return TrainingConfig(learning_rate=learning_rate, planned_updates=planned_updates, average_decay=0.99)


def _by_learner(*recipes: Recipe) -> dict[str, Recipe]:
    return {recipe.learner: recipe for recipe in recipes}


REGRESSION = _by_learner(
    Recipe(learner="maml", config=lambda n: MAMLConfig(outer_lr=wave_rate(n), decay_updates=n), tasks_per_update=25),
    Recipe(
        learner="reptile",
        config=lambda n: ReptileConfig(inner_lr=0.02, num_inner_steps=8, outer_lr=1.0, decay_updates=n),
        tasks_per_update=25,
    ),
    Recipe(
        learner="meta-sgd", config=lambda n: MetaSGDConfig(outer_lr=wave_rate(n), decay_updates=n), tasks_per_update=25
    ),
    Recipe(learner="platipus", config=lambda n: PlatipusConfig(outer_lr=3e-3, decay_updates=n), tasks_per_update=25),
    Recipe(
        learner="versa",
        config=lambda n: VersaConfig(
            embedding=PERCEPTRON, num_features=40, hidden_size=64, training=averaged_training(n)
        ),
        tasks_per_update=25,
    ),
)
AMBIGUOUS_REGRESSION = REGRESSION | _by_learner(
    Recipe(learner="maml", config=lambda n: MAMLConfig(outer_lr=3e-3, decay_updates=n), tasks_per_update=16),
    Recipe(learner="platipus", config=lambda n: PlatipusConfig(outer_lr=3e-3, decay_updates=n), tasks_per_update=16),
)
IMAGES = _by_learner(
    Recipe(
        learner="prototypical",
        config=lambda n: PrototypicalConfig(
            embedding=CONV4, is_scale_learned=True, every_image_supports=True, training=averaged_training(n)
        ),
        tasks_per_update=1,
        training_ways=20,
    ),
    Recipe(
        learner="matching",
        config=lambda n: MatchingConfig(embedding=CONV4, training=averaged_training(n)),
        tasks_per_update=1,
        training_ways=20,
    ),
    Recipe(
        learner="versa",
        config=lambda n: VersaConfig(
            embedding=RESIDUAL, every_image_supports=True, training=averaged_training(n, 1e-3)
        ),
        tasks_per_update=1,
        training_ways=20,
    ),
    Recipe(
        learner="maml",
        config=lambda n: MAMLConfig(
            network=STRIDED, inner_lr=0.4, num_inner_steps=1, num_adapt_steps=10, outer_lr=5e-3, decay_updates=n
        ),
        tasks_per_update=4,
    ),
    Recipe(
        learner="meta-sgd",
        config=lambda n: MetaSGDConfig(
            network=STRIDED, initial_rates=(0.1, 0.3), num_adapt_steps=10, outer_lr=5e-3, decay_updates=n
        ),
        tasks_per_update=4,
    ),
    Recipe(
        learner="reptile",
        config=lambda n: ReptileConfig(
            network=STRIDED,
            inner_optimizer=InnerOptimizer.ADAM,
            inner_lr=1e-2,
            num_inner_steps=5,
            inner_batch_size=10,
            num_adapt_steps=20,
            adapt_batch_size=5,
            outer_lr=1.0,
            decay_updates=n,
        ),
        tasks_per_update=5,
    ),
    Recipe(
        learner="platipus",
        config=lambda n: PlatipusConfig(
            network=STRIDED, inner_lr=0.4, num_adapt_steps=10, initial_std=0.02, outer_lr=5e-3, decay_updates=n
        ),
        tasks_per_update=4,
    ),
)
RECIPES: dict[TaskKind, dict[str, Recipe]] = {
    TaskKind.REGRESSION: REGRESSION,
    TaskKind.AMBIGUOUS_REGRESSION: AMBIGUOUS_REGRESSION,
    TaskKind.IMAGES: IMAGES,
}


def kind_of(family: FewShotFamily) -> TaskKind:
    """Return the kind of a family's tasks.

    Raises:
        RecipeError: the tasks classify vectors, for which no recipe exists.
    """
    if isinstance(family, ForkedSinusoids):
        return TaskKind.AMBIGUOUS_REGRESSION
    if not family.is_classification:
        return TaskKind.REGRESSION
    if len(family.input_shape) == 3:
        return TaskKind.IMAGES
    raise RecipeError(
        operation="choosing a recipe for",
        subject=f"inputs of shape {tuple(family.input_shape)}",
        found="they are vectors to be told apart, which no recipe is for.",
        hint="Classification learns from images, regression from vectors.",
    )


def recipe_for(learner: str, kind: TaskKind) -> Recipe:
    """Return the recipe of a learner for a kind of task.

    Raises:
        RecipeError: the learner cannot learn such tasks.
    """
    recipes = RECIPES[kind]
    if learner not in recipes:
        raise RecipeError(
            operation="choosing a recipe for",
            subject=learner,
            found=f"it does not learn {kind}.",
            hint=f"What does: {', '.join(recipes)}.",
        )
    return recipes[learner]
