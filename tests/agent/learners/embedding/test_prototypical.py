"""Prototypical Networks: what the paper says, by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from agent.learners.embedding.embeddings import Embedding, EmbeddingConfig, EmbeddingKind
from agent.learners.embedding.prototypical import (
    Distance,
    PrototypicalConfig,
    PrototypicalNetwork,
    prototypes,
    squared_distances,
)
from tests.agent.learners.embedding.cases import (
    IMAGE,
    SMALL_IMAGES,
    VECTOR,
    finite_differences_agree,
    prototypical,
    random_batch,
    seeded,
)


def test_a_prototype_is_the_mean_of_its_class() -> None:
    features = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 5.0], [2.0, 2.0]]])
    labels = torch.tensor([[0, 0, 1, 0]])
    torch.testing.assert_close(prototypes(features, labels, num_ways=2), torch.tensor([[[2.0, 2 / 3], [0.0, 5.0]]]))


def test_prototypical_logits_are_negative_squared_distances() -> None:
    network = prototypical(VECTOR)._training.trained
    logits = network.logits(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[1.0, 0.0], [4.0, 6.0]]]))
    assert logits.tolist() == [[[-4.0, -25.0]]]


def test_prototypical_cosine_logits_are_scaled_cosine_distances() -> None:
    network = prototypical(VECTOR, distance=Distance.COSINE)._training.trained
    logits = network.logits(torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[1.0, 0.0], [0.0, -2.0]]]))
    torch.testing.assert_close(logits, torch.tensor([[[0.6 - 1.0, -0.8 - 1.0]]]))


def test_a_distance_between_maps_is_refused_where_an_embedding_makes_none() -> None:
    with pytest.raises(ValueError, match="compares feature maps"):
        prototypical(VECTOR, distance=Distance.TOLERANT)


def test_one_shot_prototypes_are_nearest_neighbours() -> None:
    learner = prototypical()
    batch = random_batch(IMAGE, queries=5)
    embedding = learner._training.averaged.embedding
    with torch.no_grad():
        distances = torch.cdist(embedding.embed_tasks(batch.query_x), embedding.embed_tasks(batch.support_x))
    predicted = learner.adapt(batch.support_x, batch.support_y)(batch.query_x).argmax(2)
    assert torch.equal(predicted, distances.argmin(2))


def test_every_image_as_support_equals_its_one_shot_tasks_one_by_one() -> None:
    learner = prototypical(every_image_supports=True)
    batch = random_batch(IMAGE, tasks=1, queries=3)
    network = learner._training.trained
    images = torch.cat([batch.support_x, batch.query_x], 1)
    labels = torch.cat([batch.support_y, batch.query_y], 1)[0]
    features = network.embedding.embed_tasks(images)[0]
    losses = []
    for number in range(4):
        support = torch.stack([features[labels == n][number] for n in range(4)])
        for n in range(4):
            others = [f for place, f in enumerate(features[labels == n]) if place != number]
            distances = torch.stack([(support - f).square().sum(1) for f in others])
            losses += (-(-distances).log_softmax(1)[:, n]).tolist()
    assert learner.update(batch)["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)


@pytest.mark.parametrize("kind", [EmbeddingKind.CONV4, EmbeddingKind.RESIDUAL])
def test_without_a_prior_a_task_is_normalised_by_its_own_support_set(kind: EmbeddingKind) -> None:
    embedding = Embedding((1, 16, 16), EmbeddingConfig(kind=kind, channels=(8, 8)), generator=seeded())
    support = torch.rand(12, 1, 16, 16, generator=seeded(1))
    with torch.no_grad():
        by_its_batch = copy.deepcopy(embedding).train()(support)
    before = {name: buffer.clone() for name, buffer in embedding.named_buffers()}
    statistics, found = embedding.eval().task_statistics(support, prior=0.0)
    torch.testing.assert_close(embedding.embed_with(statistics, support), found)
    # Running variances are of a sample (n - 1), a batch's of itself (n).
    torch.testing.assert_close(found, by_its_batch, rtol=1e-2, atol=1e-2)
    assert all(torch.equal(before[name], buffer) for name, buffer in embedding.named_buffers())


def test_the_prior_is_how_many_examples_the_running_statistics_count_for() -> None:
    embedding = Embedding((1, 16, 16), EmbeddingConfig(channels=(8,)), generator=seeded()).eval()
    support = 5.0 * torch.rand(12, 1, 16, 16, generator=seeded(1))
    running = dict(embedding.named_buffers())
    own, half = (embedding.task_statistics(support, prior=prior)[0] for prior in (0.0, 12.0))
    for name in ("layers.2.running_mean", "layers.2.running_var"):
        assert not torch.allclose(own[name], running[name])
        torch.testing.assert_close(half[name], (own[name] + running[name]) / 2)


def test_a_task_with_statistics_of_its_own_is_answered_as_if_it_were_alone() -> None:
    learner = prototypical(statistics_prior=6.0)
    batch = random_batch(IMAGE, tasks=2, queries=3)
    together = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    alone = [
        learner.adapt(batch.support_x[m : m + 1], batch.support_y[m : m + 1])(batch.query_x[m : m + 1])
        for m in range(2)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
    plain = prototypical().adapt(batch.support_x, batch.support_y)(batch.query_x)
    assert not torch.allclose(together, plain, rtol=1e-2)


def test_prototypical_gradient_is_that_of_finite_differences() -> None:
    network = PrototypicalNetwork(
        IMAGE, PrototypicalConfig(embedding=SMALL_IMAGES, is_scale_learned=True), generator=seeded()
    )
    batch = random_batch(IMAGE)
    support_x, query_x = batch.support_x.double(), batch.query_x.double()

    def loss() -> Tensor:
        means = prototypes(network.embedding.embed_tasks(support_x), batch.support_y, num_ways=4)
        logits = network.logits(network.embedding.embed_tasks(query_x), means)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.query_y.flatten())

    finite_differences_agree(network, loss)


def test_squared_distances_are_those_of_cdist() -> None:
    left, right = torch.randn(2, 5, 7, generator=seeded()), torch.randn(2, 3, 7, generator=seeded(1))
    torch.testing.assert_close(squared_distances(left, right), torch.cdist(left, right).square(), rtol=1e-4, atol=1e-4)
