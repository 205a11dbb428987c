"""Adaptation over stacked parameters: the gradient written out, tasks beside each other, losses and their slopes."""

from __future__ import annotations

import pytest
import torch

from agent.learners.gradient.functional import (
    AdaptedNetwork,
    CrossEntropy,
    SquaredError,
    TaskLoss,
    adapt_by_gradient,
    linear_decay,
    loss_gradient,
    stacked,
    task_loss,
)
from agent.learners.gradient.networks import MLP
from tests.agent.learners.cases import assert_gradient_is_finite_difference, blobs, double, generator, sinusoids


def network(inputs: int = 1, outputs: int = 1) -> MLP:
    return MLP((inputs,), outputs, hidden_sizes=(4, 4), generator=generator()).double()


@pytest.mark.parametrize(("loss", "outputs"), [(SquaredError(), 2), (CrossEntropy(), 3)])
def test_a_losses_slope_is_its_derivative_in_the_outputs(loss: TaskLoss, outputs: int) -> None:
    predicted = torch.randn(4, 5, outputs, generator=generator(), dtype=torch.float64).requires_grad_()
    is_regression = isinstance(loss, SquaredError)
    targets = torch.randn(4, 5, outputs, dtype=torch.float64) if is_regression else torch.randint(outputs, (4, 5))
    (expected,) = torch.autograd.grad(loss(predicted, targets).sum(), predicted)
    torch.testing.assert_close(loss.slope(predicted.detach(), targets), expected)


def test_the_perceptrons_written_out_gradient_is_that_of_torch_func() -> None:
    function, batch, loss = network(), double(sinusoids(3)), SquaredError()
    parameters = {name: p.expand(3, *p.shape[1:]).detach() for name, p in stacked(function).items()}
    parameters = {name: p + 0.1 * torch.randn(p.shape, dtype=p.dtype) for name, p in parameters.items()}
    expected = torch.func.grad(lambda p: loss(function.forward_tasks(p, batch.support_x), batch.support_y).sum())(
        parameters
    )
    written_out = loss_gradient(function, parameters, batch.support_x, batch.support_y, loss)
    torch.testing.assert_close(written_out, expected)


class Plain:
    """A perceptron's own function without its shortcuts: its gradients are left to torch.func and to autograd."""

    def __init__(self, function: MLP) -> None:
        self.named_parameters = function.named_parameters
        self.forward_tasks = function.forward_tasks


@pytest.mark.parametrize("is_classification", [False, True])
def test_descent_written_out_is_descent_by_autograd_and_so_is_the_way_back(*, is_classification: bool) -> None:
    function = network(2, 3) if is_classification else network()
    batch = double(blobs(4) if is_classification else sinusoids(4))
    loss = task_loss(is_classification=is_classification)
    found = []
    for kind in (function, Plain(function)):
        adapted = adapt_by_gradient(
            kind, stacked(function), batch.support_x, batch.support_y, loss=loss, rates=0.05, num_steps=3
        )
        outer = loss(function.forward_tasks(adapted, batch.query_x), batch.query_y).mean()
        found.append((adapted, torch.autograd.grad(outer, list(function.parameters()))))
    torch.testing.assert_close(found[0], found[1])


def test_tasks_adapt_side_by_side_as_they_do_alone() -> None:
    function, batch = network(), double(sinusoids(3))
    together = adapt_by_gradient(
        function, stacked(function), batch.support_x, batch.support_y, loss=SquaredError(), rates=0.02, num_steps=4
    )
    for task in range(3):
        rows = slice(task, task + 1)
        alone = adapt_by_gradient(
            function,
            stacked(function),
            batch.support_x[rows],
            batch.support_y[rows],
            loss=SquaredError(),
            rates=0.02,
            num_steps=4,
        )
        for name, parameter in alone.items():
            torch.testing.assert_close(parameter[0], together[name][task])


def test_one_rate_is_the_same_as_that_rate_for_every_parameter() -> None:
    function, batch = network(), double(sinusoids(3))
    rates = {name: torch.full_like(p, 0.03) for name, p in function.named_parameters()}
    both = [
        adapt_by_gradient(
            function, stacked(function), batch.support_x, batch.support_y, loss=SquaredError(), rates=rate, num_steps=2
        )
        for rate in (0.03, rates)
    ]
    torch.testing.assert_close(both[0], both[1])


@pytest.mark.parametrize("num_steps", [1, 3])
def test_the_gradient_through_the_inner_steps_is_the_finite_difference(num_steps: int) -> None:
    function, batch = network(), double(sinusoids(2, shots=4))

    def value() -> torch.Tensor:
        adapted = adapt_by_gradient(
            function,
            stacked(function),
            batch.support_x,
            batch.support_y,
            loss=SquaredError(),
            rates=0.05,
            num_steps=num_steps,
        )
        return SquaredError()(function.forward_tasks(adapted, batch.query_x), batch.query_y).mean()

    assert_gradient_is_finite_difference(value, function.named_parameters())


def test_non_transductive_prediction_gives_every_query_its_own_batch() -> None:
    class Centred(torch.nn.Module):
        """Subtracts the mean of each task's batch: a stand-in for batch normalisation."""

        def forward_tasks(self, parameters: object, x: torch.Tensor) -> torch.Tensor:
            return x - x.mean(1, keepdim=True)

    support, query = torch.zeros(1, 3, 1), torch.tensor([[[4.0], [8.0]]])
    predict = AdaptedNetwork(network=Centred(), parameters={}, support_x=support)
    torch.testing.assert_close(predict(query), torch.tensor([[[-2.0], [2.0]]]))
    torch.testing.assert_close(predict.each_alone()(query), torch.tensor([[[3.0], [6.0]]]))


def test_a_decaying_rate_falls_in_a_straight_line_and_stays() -> None:
    rates = [linear_decay(2.0, final_scale=0.5, decay_updates=10, num_updates=n) for n in (0, 5, 10, 99)]
    assert rates == [2.0, 1.5, 1.0, 1.0]
    assert linear_decay(2.0, final_scale=0.0, decay_updates=None, num_updates=99) == 2.0
