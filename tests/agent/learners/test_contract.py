"""Properties of every gradient-based few-shot learner."""

from __future__ import annotations

from dataclasses import replace

import pytest
import safetensors.torch
import torch

from agent.learners import factory
from agent.learners.config_json import config_from_json, config_to_json
from agent.learners.protocol import Predictor, SamplingPredictor
from agent.learners.registry import UnknownLearnerError
from envs.few_shot.tasks import FewShotBatch
from tests.agent.learners.cases import (
    BLOBS,
    CASES,
    SHAPES,
    assert_same_tensors,
    blobs,
    build,
    generator,
    offsets,
    sinusoids,
)

every_learner = pytest.mark.parametrize("case", list(CASES))


def squared_error(predict: Predictor, batch: FewShotBatch) -> float:
    return (predict(batch.query_x) - batch.query_y).square().mean().item()


@every_learner
def test_adapting_leaves_the_learner_bit_identical(case: str) -> None:
    learner, batch = build(case), sinusoids(3)
    learner.update(batch)
    before, meta = learner.to_tensors(), learner.to_meta()
    predict = learner.adapt(batch.support_x, batch.support_y)
    predict(batch.query_x)
    if isinstance(predict, SamplingPredictor):
        predict.sample(batch.query_x, num_samples=2, generator=generator())
    assert_same_tensors(learner.to_tensors(), before)
    assert learner.to_meta() == meta


@every_learner
def test_a_predictor_does_not_change_when_its_learner_learns_on(case: str) -> None:
    learner, batch = build(case), sinusoids(3)
    predict = learner.adapt(batch.support_x, batch.support_y)
    before = predict(batch.query_x)
    learner.update(batch)
    torch.testing.assert_close(predict(batch.query_x), before, rtol=0, atol=0)


@every_learner
def test_restored_from_its_file_it_goes_on_bit_for_bit(case: str) -> None:
    learner = build(case)
    for step in range(3):
        learner.update(sinusoids(4, first_task=4 * step))
    restored = factory.restore(safetensors.torch.load(safetensors.torch.save(learner.to_tensors())), learner.to_meta())
    for step in range(3, 6):
        batch = sinusoids(4, first_task=4 * step)
        assert learner.update(batch) == restored.update(batch)
    assert_same_tensors(learner.to_tensors(), restored.to_tensors())
    assert learner.to_meta() == restored.to_meta()


@every_learner
def test_an_initialization_alone_adapts_the_same(case: str) -> None:
    learner, batch = build(case), sinusoids(4)
    learner.update(batch)
    published = learner.initialization()
    assert set(published) <= set(learner.to_tensors())
    restored = factory.restore(published, learner.to_meta())
    torch.testing.assert_close(
        restored.adapt(batch.support_x, batch.support_y)(batch.query_x),
        learner.adapt(batch.support_x, batch.support_y)(batch.query_x),
        rtol=0,
        atol=0,
    )


@every_learner
def test_what_is_published_does_not_change_as_the_learner_learns_on(case: str) -> None:
    learner = build(case)
    published = learner.initialization()
    kept = {name: tensor.clone() for name, tensor in published.items()}
    learner.update(sinusoids(4))
    assert_same_tensors(published, kept)


@every_learner
def test_tasks_adapt_side_by_side_as_they_do_alone(case: str) -> None:
    learner, batch = build(case), sinusoids(3)
    together = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    for task in range(3):
        alone = learner.adapt(batch.support_x[task : task + 1], batch.support_y[task : task + 1])
        torch.testing.assert_close(alone(batch.query_x[task : task + 1])[0], together[task], rtol=1e-4, atol=1e-5)


@every_learner
def test_it_overfits_one_small_task(case: str) -> None:
    learner, batch = build(case), offsets(1, shots=5)
    same = replace(batch, query_x=batch.support_x, query_y=batch.support_y)
    for _ in range(150):
        learner.update(same)
    error = squared_error(learner.adapt(same.support_x, same.support_y), same)
    assert error < 0.1 * same.query_y.square().mean().item()


@every_learner
def test_after_training_it_beats_no_adaptation_on_held_out_tasks(case: str) -> None:
    learner = build(case)
    for step in range(60):
        learner.update(offsets(10, seed=step))
    held_out = offsets(200, seed=10_000)
    error_without = 3.0  # of the best function that is the same for every task
    assert squared_error(learner.adapt(held_out.support_x, held_out.support_y), held_out) < 0.6 * error_without


@every_learner
def test_it_learns_to_classify_from_few_examples(case: str) -> None:
    learner, batch = build(case, BLOBS), blobs(20)
    for step in range(40):
        metrics = learner.update(blobs(20, seed=step))
    assert set(metrics) >= {"loss", "accuracy"}
    held_out = blobs(100, seed=10_000)
    predict = learner.adapt(held_out.support_x, held_out.support_y)
    assert predict(held_out.query_x).shape == (100, 12, 3)
    correct = (predict(held_out.query_x).argmax(2) == held_out.query_y).float().mean().item()
    assert correct > 0.45, f"{correct} of 1/3 by chance; {batch.num_tasks} tasks an update"


@every_learner
def test_every_setting_survives_json(case: str) -> None:
    _, config = CASES[case]
    assert config_from_json(type(config), config_to_json(config)) == config


def test_an_unknown_learner_is_refused_by_name() -> None:
    with pytest.raises(UnknownLearnerError, match="maml"):
        factory.build("mamll", SHAPES, generator=generator())


def test_a_tensor_of_the_wrong_shape_is_refused() -> None:
    learner = build("maml")
    tensors = learner.to_tensors()
    tensors["parameters.weight_0"] = torch.zeros(2, 2)
    with pytest.raises(ValueError, match="weight_0"):
        factory.restore(tensors, learner.to_meta())
