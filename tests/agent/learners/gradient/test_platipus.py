"""PLATIPUS: the divergence worked by hand, the identity with MAML, its gradient, what its samples are."""

from __future__ import annotations

import math

import pytest
import torch

from agent.learners.gradient.maml import MAML, MAMLConfig
from agent.learners.gradient.platipus import GaussianParameters, Platipus, PlatipusConfig
from tests.agent.learners.cases import (
    SHAPES,
    SMALL,
    TINY,
    assert_gradient_is_finite_difference,
    double,
    generator,
    sinusoids,
)


def normal(mean: list[float], std: float) -> GaussianParameters:
    return GaussianParameters(
        mean={"x": torch.tensor([mean])}, log_std={"x": torch.full((1, len(mean)), math.log(std))}
    )


def test_the_divergence_is_the_number_worked_by_hand() -> None:
    # KL(N(1, ½²) ‖ N(0, 1)) = log 2 + (¼ + 1) / 2 - ½, and twice that for two such parameters.
    expected = 2 * (math.log(2) + 0.625 - 0.5)
    assert normal([1.0, -1.0], 0.5).divergence_from(normal([0.0, 0.0], 1.0)).item() == pytest.approx(expected)


def test_the_divergence_is_torchs() -> None:
    mean, other = torch.randn(3, 4, generator=generator()), torch.randn(3, 4, generator=generator(1))
    q = GaussianParameters(mean={"x": mean}, log_std={"x": torch.full((1, 4), -1.0)})
    p = GaussianParameters(mean={"x": other}, log_std={"x": torch.full((1, 4), 0.5)})
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, math.exp(-1.0)), torch.distributions.Normal(other, math.exp(0.5))
    )
    torch.testing.assert_close(q.divergence_from(p), expected.sum(1))


def test_without_variance_and_inference_step_it_is_maml() -> None:
    config = PlatipusConfig(
        inner_lr=0.03,
        num_inner_steps=2,
        initial_std=1e-20,
        initial_inference_std=1e-20,
        initial_prior_rate=0.0,
        noise_std=math.sqrt(0.5),
        network=SMALL,
    )
    platipus = Platipus(SHAPES, config, generator=generator())
    maml = MAML(SHAPES, MAMLConfig(inner_lr=0.03, num_inner_steps=2, network=SMALL), generator=generator())
    batch = sinusoids(3)
    # At σ² = ½ the negative log-likelihood is the squared error plus ½ log π.
    likelihood, _, _ = platipus.outer_loss(batch, generator())
    assert likelihood.item() == pytest.approx(maml.outer_loss(batch)[0].item() + 0.5 * math.log(math.pi), rel=1e-5)
    both = [learner.adapt(batch.support_x, batch.support_y) for learner in (platipus, maml)]
    torch.testing.assert_close(both[0](batch.query_x), both[1](batch.query_x))


def test_the_bounds_gradient_is_the_finite_difference_in_all_that_is_learned() -> None:
    learner = Platipus(SHAPES, PlatipusConfig(num_inner_steps=2, network=TINY), generator=generator())
    learner.network.double()
    groups = (learner.log_std, learner.inference_log_std, learner.prior_rates, learner.inference_rates)
    for group in groups:
        for name, parameter in group.items():
            group[name] = torch.nn.Parameter(parameter.detach().double())
    batch = double(sinusoids(2, shots=4))

    def bound() -> torch.Tensor:
        likelihood, divergence, _ = learner.outer_loss(batch, generator(3))
        return likelihood + divergence / 10

    learned = [(f"{index}.{name}", p) for index, group in enumerate(groups) for name, p in group.items()]
    assert_gradient_is_finite_difference(bound, [*learner.network.named_parameters(), *learned])


def test_samples_are_whole_solutions_that_the_generator_decides() -> None:
    learner, batch = Platipus(SHAPES, PlatipusConfig(network=SMALL), generator=generator()), sinusoids(2)
    predict = learner.adapt(batch.support_x, batch.support_y)
    samples = predict.sample(batch.query_x, num_samples=3, generator=generator(5))
    assert samples.shape == (3, 2, 10, 1)
    torch.testing.assert_close(predict.sample(batch.query_x, num_samples=3, generator=generator(5)), samples)
    assert (samples[0] - samples[1]).abs().max() > 0
    # One sample's function is one function: asked for the same point twice, it answers the same.
    twice = torch.cat([batch.query_x, batch.query_x], 1)
    both = predict.sample(twice, num_samples=1, generator=generator(5))
    torch.testing.assert_close(both[:, :, :10], both[:, :, 10:])


def test_inference_may_see_the_support_set_too() -> None:
    batch = sinusoids(2)
    losses = [
        Platipus(SHAPES, PlatipusConfig(infers_from_all=sees, network=SMALL), generator=generator())
        .outer_loss(batch, generator())[0]
        .item()
        for sees in (False, True)
    ]
    assert losses[0] != losses[1]
