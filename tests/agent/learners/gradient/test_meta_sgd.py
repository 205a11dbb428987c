"""Meta-SGD: numbers worked by hand, the identity with MAML, its gradient."""

from __future__ import annotations

import pytest
import torch

from agent.learners.gradient.maml import MAML, MAMLConfig
from agent.learners.gradient.meta_sgd import MetaSGD, MetaSGDConfig
from envs.few_shot.tasks import FewShotBatch
from tests.agent.learners.cases import (
    LINE,
    SHAPES,
    SMALL,
    TINY,
    assert_gradient_is_finite_difference,
    double,
    generator,
    one_point,
    set_line,
    sinusoids,
)


def test_a_step_and_the_rates_gradient_on_a_line_are_the_numbers_worked_by_hand() -> None:
    learner = MetaSGD(SHAPES, MetaSGDConfig(network=LINE), generator=generator())
    set_line(learner.network, weight=1.0, bias=0.0)
    with torch.no_grad():
        learner.rates["weight_0"].fill_(0.1)
        learner.rates["bias_0"].fill_(0.2)
    (support_x, support_y), (query_x, query_y) = one_point(1.0, 0.0), one_point(2.0, 0.0)
    loss, _ = learner.outer_loss(
        FewShotBatch(support_x=support_x, support_y=support_y, query_x=query_x, query_y=query_y)
    )
    # ∇L = (2, 2): w = 1 - .1 · 2 = .8, b = 0 - .2 · 2 = -.4; f(2) = 1.2, L = 1.44.
    assert loss.item() == pytest.approx(1.44)
    # dL/dα = 2 · 1.2 · (-2 · 2, -2).
    gradient = torch.autograd.grad(loss, list(learner.rates.values()))
    assert gradient[0].item() == pytest.approx(-9.6)
    assert gradient[1].item() == pytest.approx(-4.8)


def test_with_equal_fixed_rates_it_is_maml() -> None:
    maml = MAML(SHAPES, MAMLConfig(inner_lr=0.03, num_inner_steps=2, network=SMALL), generator=generator())
    config = MetaSGDConfig(initial_rates=(0.03, 0.03), learns_rates=False, num_inner_steps=2, network=SMALL)
    meta_sgd = MetaSGD(SHAPES, config, generator=generator())
    for step in range(5):
        batch = sinusoids(4, first_task=4 * step)
        assert meta_sgd.update(batch)["loss"] == pytest.approx(maml.update(batch)["loss"], rel=1e-5)
    for name, parameter in meta_sgd.network.named_parameters():
        torch.testing.assert_close(parameter, dict(maml.network.named_parameters())[name], rtol=1e-4, atol=1e-5)
    assert all((rate == 0.03).all() for rate in meta_sgd.rates.values())


def test_the_outer_gradient_is_the_finite_difference_in_parameters_and_rates() -> None:
    learner = MetaSGD(SHAPES, MetaSGDConfig(num_inner_steps=2, network=TINY), generator=generator())
    learner.network.double()
    learner.rates = {name: torch.nn.Parameter(rate.detach().double()) for name, rate in learner.rates.items()}
    batch = double(sinusoids(2, shots=4))
    learned = [*learner.network.named_parameters(), *((f"rates.{name}", rate) for name, rate in learner.rates.items())]
    assert_gradient_is_finite_difference(lambda: learner.outer_loss(batch)[0], learned)


def test_rates_are_drawn_in_their_range_and_then_learned() -> None:
    learner = MetaSGD(SHAPES, MetaSGDConfig(initial_rates=(0.005, 0.1), network=SMALL), generator=generator())
    before = {name: rate.detach().clone() for name, rate in learner.rates.items()}
    assert all(((rate >= 0.005) & (rate <= 0.1)).all() for rate in before.values())
    learner.update(sinusoids(4))
    assert all((rate != before[name]).any() for name, rate in learner.rates.items())
