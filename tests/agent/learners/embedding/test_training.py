"""Training of embedding networks: the learning rate and averaged weights."""

from __future__ import annotations

import pytest

from agent.learners.embedding.training import TrainingConfig
from tests.agent.learners.embedding.cases import IMAGE, prototypical, random_batch


def test_averaged_weights_lag_behind_the_trained_ones() -> None:
    learner = prototypical(training=TrainingConfig(learning_rate=1e-2, average_decay=0.9))
    start = learner.initialization()["parameters.embedding.layers.0.weight"]
    for seed in range(20):
        learner.update(random_batch(IMAGE, seed=seed))
    averaged = learner.initialization()["parameters.embedding.layers.0.weight"]
    trained = learner.to_tensors()["training.parameters.embedding.layers.0.weight"]
    assert 0.0 < float((averaged - start).norm()) < float((trained - start).norm())


def test_the_learning_rate_rises_then_falls_to_a_fiftieth() -> None:
    config = TrainingConfig(learning_rate=1.0, planned_updates=1000)
    assert config.rate(0) == pytest.approx(0.01)
    assert config.rate(500) == pytest.approx(0.51)
    assert config.rate(1000) == pytest.approx(0.02)
    assert TrainingConfig(learning_rate=0.3).rate(12345) == 0.3
