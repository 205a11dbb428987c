"""VERSA: what the paper says, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from agent.learners.embedding.versa import HeadDistribution, VersaConfig, VersaNetwork
from envs.few_shot.tasks import FewShotShapes
from tests.agent.learners.embedding.cases import (
    CURVE,
    IMAGE,
    SMALL_VECTORS,
    VECTOR,
    finite_differences_agree,
    random_batch,
    seeded,
    versa,
)


def test_versa_with_every_image_as_support_equals_its_one_shot_tasks_one_by_one() -> None:
    learner = versa(every_image_supports=True, num_samples=1)
    network = learner._training.trained
    with torch.no_grad():
        network.head[-1].bias[17:] = -60.0  # log σ²: every sampled head is the mean
        network.head[-1].weight[17:] = 0.0
    batch = random_batch(IMAGE, tasks=1, queries=3)
    features = network.embed(torch.cat([batch.support_x, batch.query_x], 1))[0]
    labels = torch.cat([batch.support_y, batch.query_y], 1)[0]
    losses = []
    for number in range(4):
        support = torch.stack([features[labels == n][number] for n in range(4)])
        heads = network.infer(support[None], torch.arange(4)[None]).mean[None]
        for n in range(4):
            others = [f for place, f in enumerate(features[labels == n]) if place != number]
            log_p = network.outputs(torch.stack(others)[None], heads).log_softmax(3)
            losses += log_p[0, 0, :, n].tolist()
    assert learner.update(batch)["loss"] == pytest.approx(-sum(losses) / len(losses), rel=1e-4)


def test_versa_averages_the_likelihood_and_not_its_logarithm() -> None:
    network = versa(VECTOR)._training.trained
    outputs = torch.tensor([[[[math.log(3.0), 0.0]]], [[[0.0, 0.0]]]])
    found = network.log_likelihood(outputs, torch.tensor([[0]]))
    assert found.item() == pytest.approx(math.log((0.75 + 0.5) / 2))


def test_versa_regression_likelihood_is_a_normal_density() -> None:
    network = versa(CURVE)._training.trained
    found = network.log_likelihood(torch.tensor([[[[1.0]]]]), torch.tensor([[[3.0]]]))
    assert found.item() == pytest.approx(-2.0 - 0.5 * math.log(2 * math.pi))


def test_versa_heads_are_sampled_with_the_inferred_mean_and_variance() -> None:
    heads = HeadDistribution(mean=torch.full((1, 1, 2), 3.0), log_variance=torch.full((1, 1, 2), math.log(0.25)))
    sampled = heads.sample(20_000, seeded())
    assert sampled.mean().item() == pytest.approx(3.0, abs=0.02)
    assert sampled.std().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("shapes", [VECTOR, CURVE], ids=["classification", "regression"])
def test_versa_gradient_is_that_of_finite_differences(shapes: FewShotShapes) -> None:
    config = VersaConfig(embedding=SMALL_VECTORS, num_features=6, hidden_size=8)
    network = VersaNetwork(shapes, config, generator=seeded())
    batch = random_batch(shapes)
    targets = batch.support_y if shapes.is_classification else batch.support_y.double()
    asked = batch.query_y if shapes.is_classification else batch.query_y.double()

    def loss() -> Tensor:
        heads = network.infer(network.embed(batch.support_x.double()), targets).sample(3, seeded(4))
        return -network.log_likelihood(network.outputs(network.embed(batch.query_x.double()), heads), asked).mean()

    finite_differences_agree(network, loss)
