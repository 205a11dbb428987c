"""Tests of every embedding learner: identities, state and learning."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from agent.learners.embedding.embeddings import EmbeddingConfig
from agent.learners.embedding.matching import MatchingLearner
from agent.learners.embedding.prototypical import PrototypicalLearner
from agent.learners.embedding.versa import VersaLearner
from agent.learners.factory import build, restore
from agent.learners.protocol import FewShotLearner, Predictor, SamplingPredictor
from envs.family import Split
from envs.few_shot.tasks import FewShotShapes
from tests.agent.learners.embedding.cases import (
    CLASSIFIERS,
    CURVE,
    MAKERS,
    every_classifier,
    every_learner,
    glyph_tasks,
    held_out_accuracy,
    matching,
    prototypical,
    random_batch,
    seeded,
    versa,
)

# Identities.


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "matching, full context"])
def test_the_order_of_the_support_set_does_not_matter(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes, shots=2)
    order = torch.randperm(batch.support_x.shape[1], generator=seeded(3))
    there = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    turned = learner.adapt(batch.support_x[:, order], batch.support_y[:, order])(batch.query_x)
    torch.testing.assert_close(there, turned, rtol=1e-4, atol=1e-4)


@every_learner
def test_what_else_is_asked_does_not_matter(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes, queries=4)
    learner.update(batch)
    predictor = learner.adapt(batch.support_x, batch.support_y)
    together = predictor(batch.query_x)
    alone = predictor(batch.query_x[:, 1:2])
    torch.testing.assert_close(together[:, 1:2], alone, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if not name.startswith(("matching, full", "versa"))])
def test_classes_may_be_numbered_otherwise(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes)
    names = torch.tensor([2, 0, 3, 1])
    there = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    renamed = learner.adapt(batch.support_x, names[batch.support_y])(batch.query_x)
    torch.testing.assert_close(there, renamed[:, :, names], rtol=1e-4, atol=1e-4)


@every_classifier
def test_it_adapts_to_other_ways_and_shots_than_it_learned_with(name: str) -> None:
    learner = MAKERS[name]()
    more = FewShotShapes(input_shape=learner.shapes.input_shape, output_size=7, is_classification=True)
    batch = random_batch(more, shots=3)
    assert learner.adapt(batch.support_x, batch.support_y)(batch.query_x).shape == (2, 14, 7)


@every_learner
def test_its_predictors_are_of_the_protocol(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes)
    predictor = learner.adapt(batch.support_x, batch.support_y)
    assert isinstance(predictor, Predictor)
    assert isinstance(predictor, SamplingPredictor) == name.startswith("versa")
    assert not predictor(batch.query_x).requires_grad
    if isinstance(predictor, SamplingPredictor):
        sampled = predictor.sample(batch.query_x, num_samples=3, generator=seeded())
        assert sampled.shape == (3, *predictor(batch.query_x).shape)


# State.


@every_learner
def test_adapting_leaves_the_learner_bit_identical(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes)
    learner.update(batch)
    before = learner.to_tensors()
    learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    after = learner.to_tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@every_learner
def test_a_predictor_is_not_changed_by_later_updates(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes)
    predictor = learner.adapt(batch.support_x, batch.support_y)
    before = predictor(batch.query_x)
    learner.update(batch)
    assert torch.equal(predictor(batch.query_x), before)


@every_learner
def test_restored_from_its_tensors_it_goes_on_bit_for_bit(name: str) -> None:
    learner = MAKERS[name]()
    for seed in range(3):
        learner.update(random_batch(learner.shapes, seed=seed))
    resumed = restore(learner.to_tensors(), learner.to_meta())
    assert resumed.num_updates == 3
    for seed in range(3, 6):
        batch = random_batch(learner.shapes, seed=seed)
        assert learner.update(batch) == resumed.update(batch)
    ours, theirs = learner.to_tensors(), resumed.to_tensors()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@every_learner
def test_an_initialization_alone_adapts_the_same(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes)
    for _ in range(3):
        learner.update(batch)
    published = restore(learner.initialization(), learner.to_meta())
    ours = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    assert torch.equal(published.adapt(batch.support_x, batch.support_y)(batch.query_x), ours)


def test_learners_that_need_classes_refuse_a_regression() -> None:
    with pytest.raises(ValueError, match="regression"):
        PrototypicalLearner(CURVE, generator=seeded())
    with pytest.raises(ValueError, match="regression"):
        MatchingLearner(CURVE, generator=seeded())


def test_the_registry_builds_them_by_name() -> None:
    shapes = FewShotShapes(input_shape=(1, 28, 28), output_size=5, is_classification=True)
    for name, kind in {"prototypical": PrototypicalLearner, "matching": MatchingLearner, "versa": VersaLearner}.items():
        assert isinstance(build(name, shapes, generator=seeded()), kind)


# Learning.


@every_learner
def test_it_overfits_one_small_task(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes, tasks=1, queries=2)
    for _ in range(80):
        last = learner.update(batch)
    assert last.get("accuracy") == 1.0 or last.get("squared_error", math.inf) < 0.01


@pytest.mark.parametrize("name", ["prototypical", "matching", "versa"])
def test_it_beats_no_adaptation_on_alphabets_never_seen(name: str) -> None:
    family = glyph_tasks()
    shapes = FewShotShapes.of(family)
    makers: dict[str, Callable[..., FewShotLearner]] = {
        "prototypical": prototypical,
        "matching": matching,
        "versa": versa,
    }
    learner = makers[name](shapes, embedding=EmbeddingConfig(channels=(16, 16, 16)))
    for update in range(40):
        learner.update(family.sample(2, split=Split.TRAINING, first_task=2 * update))
    batch = family.sample(60, split=Split.HELD_OUT, first_task=0)
    # Without adaptation: the same learner shown other tasks' support sets.
    strangers = learner.adapt(batch.support_x.roll(1, 0), batch.support_y)(batch.query_x)
    without = float((strangers.argmax(2) == batch.query_y).float().mean())
    assert held_out_accuracy(learner, family) > without + 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_it_learns_to_learn_made_up_characters(name: str) -> None:
    family = glyph_tasks(ways=4, size=12)
    learner = MAKERS[name]()
    for update in range(400):
        learner.update(family.sample(2, split=Split.TRAINING, first_task=2 * update))
    assert held_out_accuracy(learner, family, tasks=200) > 0.7
