"""A learner before it has seen a support set: it answers by its initial parameters, or not at all."""

from __future__ import annotations

import pytest
import torch

from agent.learners import factory
from agent.learners.embedding.embeddings import EmbeddingConfig, EmbeddingKind
from agent.learners.embedding.prototypical import PrototypicalConfig
from agent.learners.embedding.versa import VersaConfig
from agent.learners.gradient.maml import MAML
from agent.learners.unadapted import without_adaptation
from tests.agent.learners.cases import BLOBS, CASES, SHAPES, assert_same_tensors, build, generator, sinusoids


@pytest.mark.parametrize("case", list(CASES))
def test_it_answers_the_same_whatever_the_support_set_and_otherwise_than_adapted(case: str) -> None:
    learner, batch, other = build(case), sinusoids(3), sinusoids(3, first_task=100)
    learner.update(batch)
    before = learner.to_tensors()
    initial = without_adaptation(learner)
    assert initial is not None
    answer = initial.adapt(batch.support_x, batch.support_y)(batch.query_x)
    torch.testing.assert_close(initial.adapt(other.support_x, other.support_y)(batch.query_x), answer, rtol=0, atol=0)
    assert not torch.equal(learner.adapt(batch.support_x, batch.support_y)(batch.query_x), answer)
    assert_same_tensors(learner.to_tensors(), before)


def test_mamls_is_its_network_as_it_is() -> None:
    learner, batch = build("maml"), sinusoids(2)
    assert isinstance(learner, MAML)
    initial = without_adaptation(learner)
    assert initial is not None
    parameters = {name: parameter.unsqueeze(0) for name, parameter in learner.network.named_parameters()}
    expected = learner.network.forward_tasks(parameters, batch.query_x)
    torch.testing.assert_close(initial.adapt(batch.support_x, batch.support_y)(batch.query_x), expected)


@pytest.mark.parametrize("name", ["prototypical", "versa"])
def test_who_compares_with_the_support_set_has_no_answer_without_one(name: str) -> None:
    embedding = EmbeddingConfig(kind=EmbeddingKind.MLP, channels=(4, 4))
    is_versa = name == "versa"
    config = VersaConfig(embedding=embedding) if is_versa else PrototypicalConfig(embedding=embedding)
    learner = factory.build(name, SHAPES if is_versa else BLOBS, config, generator=generator())
    assert without_adaptation(learner) is None
