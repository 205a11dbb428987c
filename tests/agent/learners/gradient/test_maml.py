"""MAML: numbers worked by hand, its first-order form, its gradient, what long training leaves behind."""

from __future__ import annotations

import gc

import pytest
import torch

from agent.learners.gradient.maml import MAML, MAMLConfig
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


def line(*, is_first_order: bool) -> tuple[MAML, FewShotBatch]:
    """f(x) = x; the support set says f(1) = 0, the query f(2) = 0; α = .1."""
    config = MAMLConfig(inner_lr=0.1, is_first_order=is_first_order, network=LINE)
    learner = MAML(SHAPES, config, generator=generator())
    set_line(learner.network, weight=1.0, bias=0.0)
    (support_x, support_y), (query_x, query_y) = one_point(1.0, 0.0), one_point(2.0, 0.0)
    return learner, FewShotBatch(support_x=support_x, support_y=support_y, query_x=query_x, query_y=query_y)


def outer_gradient(learner: MAML, batch: FewShotBatch) -> dict[str, torch.Tensor]:
    names, parameters = zip(*learner.network.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(learner.outer_loss(batch)[0], parameters), strict=True))


def test_one_step_on_a_line_is_the_number_worked_by_hand() -> None:
    learner, batch = line(is_first_order=False)
    # L = (w + b)² = 1, so w and b fall by α · 2 = .2: f(x) = .8 x - .2, and f(2)² = 1.4² = 1.96.
    predict = learner.adapt(batch.support_x, batch.support_y)
    torch.testing.assert_close(predict.parameters["weight_0"], torch.tensor([[[0.8]]]))
    torch.testing.assert_close(predict.parameters["bias_0"], torch.tensor([[-0.2]]))
    assert learner.outer_loss(batch)[0].item() == pytest.approx(1.96)
    # dφ/dθ: w' = .8 w - .2 b and b' = -.2 w + .8 b, so f(2) = 1.4 w + .4 b and dL/dθ = 2 · 1.4 · (1.4, .4).
    gradient = outer_gradient(learner, batch)
    assert gradient["weight_0"].item() == pytest.approx(3.92)
    assert gradient["bias_0"].item() == pytest.approx(1.12)


def test_the_first_order_form_takes_the_inner_steps_as_constant() -> None:
    learner, batch = line(is_first_order=True)
    gradient = outer_gradient(learner, batch)
    assert gradient["weight_0"].item() == pytest.approx(5.6)
    assert gradient["bias_0"].item() == pytest.approx(2.8)


def test_first_order_maml_equals_autograd_by_hand() -> None:
    learner = MAML(SHAPES, MAMLConfig(num_inner_steps=3, is_first_order=True, network=SMALL), generator=generator())
    batch = sinusoids(2)
    expected = {name: torch.zeros_like(p) for name, p in learner.network.named_parameters()}
    for task in range(2):
        adapted = {name: p.detach().clone().requires_grad_() for name, p in learner.network.named_parameters()}
        for x, y, is_query in (*[(batch.support_x, batch.support_y, False)] * 3, (batch.query_x, batch.query_y, True)):
            loss = (torch.func.functional_call(learner.network, adapted, x[task]) - y[task]).square().mean()
            gradient = torch.autograd.grad(loss, list(adapted.values()))
            for name, g in zip(adapted, gradient, strict=True):
                if is_query:
                    expected[name] += g / 2
                else:
                    adapted[name] = (adapted[name] - 0.01 * g).detach().requires_grad_()
    torch.testing.assert_close(outer_gradient(learner, batch), expected, rtol=1e-4, atol=1e-5)


def test_without_inner_steps_it_is_plain_training() -> None:
    learner = MAML(SHAPES, MAMLConfig(num_inner_steps=0, network=SMALL), generator=generator())
    batch = sinusoids(4)
    expected = (learner.network(batch.query_x.flatten(0, 1)) - batch.query_y.flatten(0, 1)).square().mean()
    torch.testing.assert_close(learner.outer_loss(batch)[0], expected)


def test_the_outer_gradient_is_the_finite_difference() -> None:
    learner = MAML(SHAPES, MAMLConfig(inner_lr=0.05, num_inner_steps=2, network=TINY), generator=generator())
    learner.network.double()
    batch = double(sinusoids(2, shots=4))
    assert_gradient_is_finite_difference(lambda: learner.outer_loss(batch)[0], learner.network.named_parameters())


def test_the_outer_gradient_is_clipped_to_its_norm() -> None:
    config = MAMLConfig(max_gradient_norm=1e-3, network=SMALL)
    learner = MAML(SHAPES, config, generator=generator())
    learner.update(sinusoids(4))
    norm = torch.stack([p.grad.norm() for p in learner.network.parameters() if p.grad is not None]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-2)


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@pytest.mark.parametrize("num_updates", [200, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_outer_steps_leave_no_tensors_behind(num_updates: int) -> None:
    learner = MAML(SHAPES, MAMLConfig(num_inner_steps=2, network=SMALL), generator=generator())
    batch = sinusoids(4)
    for _ in range(20):
        learner.update(batch)
    before = live_tensors()
    for _ in range(num_updates):
        learner.update(batch)
    assert live_tensors() <= before
