"""Small prototypical and matching networks and VERSAs, and tasks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from agent.learners.embedding.embeddings import EmbeddingConfig, EmbeddingKind
from agent.learners.embedding.matching import MatchingConfig, MatchingLearner
from agent.learners.embedding.prototypical import (
    Distance,
    PrototypicalConfig,
    PrototypicalLearner,
)
from agent.learners.embedding.training import TrainingConfig
from agent.learners.embedding.versa import VersaConfig, VersaLearner
from agent.learners.protocol import FewShotLearner
from envs.family import Split
from envs.few_shot.images.folder import ImageFamily, ImageTaskConfig
from envs.few_shot.images.glyphs import GlyphConfig
from envs.few_shot.tasks import FewShotBatch, FewShotShapes
from tests.agent.learners.image_folders import glyph_family

IMAGE = FewShotShapes(input_shape=(1, 12, 12), output_size=4, is_classification=True)
VECTOR = FewShotShapes(input_shape=(3,), output_size=4, is_classification=True)
CURVE = FewShotShapes(input_shape=(1,), output_size=1, is_classification=False)
SMALL_IMAGES = EmbeddingConfig(channels=(8, 8))
SMALL_VECTORS = EmbeddingConfig(kind=EmbeddingKind.MLP, channels=(16, 8))
FAST = TrainingConfig(learning_rate=5e-3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def prototypical(shapes: FewShotShapes = IMAGE, **settings: Any) -> PrototypicalLearner:
    embedding = SMALL_IMAGES if len(shapes.input_shape) == 3 else SMALL_VECTORS
    config = PrototypicalConfig(**{"embedding": embedding, "training": FAST, **settings})
    return PrototypicalLearner(shapes, config, generator=seeded())


def matching(shapes: FewShotShapes = IMAGE, **settings: Any) -> MatchingLearner:
    embedding = SMALL_IMAGES if len(shapes.input_shape) == 3 else SMALL_VECTORS
    config = MatchingConfig(**{"embedding": embedding, "training": FAST, **settings})
    return MatchingLearner(shapes, config, generator=seeded())


def versa(shapes: FewShotShapes = IMAGE, **settings: Any) -> VersaLearner:
    embedding = SMALL_IMAGES if len(shapes.input_shape) == 3 else SMALL_VECTORS
    small = {"embedding": embedding, "num_features": 16, "hidden_size": 32, "training": FAST}
    return VersaLearner(shapes, VersaConfig(**{**small, **settings}), generator=seeded())


MAKERS: dict[str, Callable[[], FewShotLearner]] = {
    "prototypical": prototypical,
    "prototypical, every image a support": lambda: prototypical(
        every_image_supports=True,
        is_scale_learned=True,
        training=TrainingConfig(learning_rate=5e-3, planned_updates=400, average_decay=0.9),
    ),
    "prototypical, normalised by the task": lambda: prototypical(statistics_prior=4.0),
    "prototypical, cosine": lambda: prototypical(distance=Distance.COSINE, is_scale_learned=True),
    "prototypical, tolerant of where strokes lie": lambda: prototypical(
        distance=Distance.TOLERANT, every_image_supports=True, is_scale_learned=True
    ),
    "prototypical, residual": lambda: prototypical(
        embedding=EmbeddingConfig(kind=EmbeddingKind.RESIDUAL, channels=(8, 8, 8), is_bfloat16=True)
    ),
    "matching": matching,
    "matching, full context": lambda: matching(has_full_context=True, processing_steps=2),
    "versa": versa,
    "versa, every image a support": lambda: versa(every_image_supports=True),
    "versa, regression": lambda: versa(CURVE),
}
CLASSIFIERS = [name for name in MAKERS if "regression" not in name]
every_learner = pytest.mark.parametrize("name", MAKERS)
every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)


def random_batch(
    shapes: FewShotShapes, *, tasks: int = 2, shots: int = 1, queries: int = 2, seed: int = 0
) -> FewShotBatch:
    generator = seeded(seed)

    def inputs(count: int) -> Tensor:
        return torch.rand(tasks, count, *shapes.input_shape, generator=generator)

    if not shapes.is_classification:
        support_x, query_x = inputs(5) * 4 - 2, inputs(5) * 4 - 2
        phase = torch.rand(tasks, 1, 1, generator=generator)
        return FewShotBatch(
            support_x=support_x, support_y=(support_x + phase).sin(), query_x=query_x, query_y=(query_x + phase).sin()
        )
    labels = torch.arange(shapes.output_size)
    return FewShotBatch(
        support_x=inputs(shapes.output_size * shots),
        support_y=labels.repeat_interleave(shots).expand(tasks, -1),
        query_x=inputs(shapes.output_size * queries),
        query_y=labels.repeat_interleave(queries).expand(tasks, -1),
    )


def glyph_tasks(**settings: Any) -> ImageFamily:
    config = ImageTaskConfig(**{"ways": 5, "queries": 3, "size": 20, **settings})
    return glyph_family(config, GlyphConfig(alphabets=8, characters=12, drawers=8, size=40))


def held_out_accuracy(learner: FewShotLearner, family: ImageFamily, *, tasks: int = 60) -> float:
    batch = family.sample(tasks, split=Split.HELD_OUT, first_task=0)
    logits = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    return float((logits.argmax(2) == batch.query_y).float().mean())


def finite_differences_agree(network: torch.nn.Module, loss: Callable[[], Tensor]) -> None:
    network.double().train()
    with torch.no_grad():
        for module in network.modules():  # away from the kinks of rectification and maximum
            if isinstance(module, torch.nn.BatchNorm2d):
                module.bias.uniform_(0.1, 0.6, generator=seeded(1))
    value = loss()
    gradients = torch.autograd.grad(value, list(network.parameters()), allow_unused=True)
    direction = [torch.randn(p.shape, dtype=p.dtype, generator=seeded(2)) for p in network.parameters()]
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True) if g is not None)
    step = 1e-6
    ends = []
    with torch.no_grad():
        for sign in (1.0, -2.0):
            for parameter, d in zip(network.parameters(), direction, strict=True):
                parameter.add_(d, alpha=sign * step)
            ends.append(float(loss()))
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=1e-4, abs=1e-7)
