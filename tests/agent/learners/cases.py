"""Small tasks, small networks and finite differences for the tests of the gradient-based learners."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from agent.learners import factory
from agent.learners.gradient.maml import MAMLConfig
from agent.learners.gradient.meta_sgd import MetaSGDConfig
from agent.learners.gradient.networks import NetworkConfig
from agent.learners.gradient.platipus import PlatipusConfig
from agent.learners.gradient.reptile import InnerOptimizer, ReptileConfig
from agent.learners.protocol import FewShotLearner
from envs.family import Split
from envs.few_shot.sinusoids import Sinusoids
from envs.few_shot.tasks import FewShotBatch, FewShotShapes

SHAPES = FewShotShapes(input_shape=(1,), output_size=1, is_classification=False)
LINE = NetworkConfig(hidden_sizes=())
SMALL = NetworkConfig(hidden_sizes=(16, 16))
TINY = NetworkConfig(hidden_sizes=(3, 3))
BLOBS = FewShotShapes(input_shape=(2,), output_size=3, is_classification=True)
MAML = MAMLConfig(inner_lr=0.05, num_inner_steps=3, outer_lr=1e-2, network=SMALL)
REPTILE = ReptileConfig(inner_optimizer=InnerOptimizer.SGD, inner_lr=0.02, outer_lr=0.5, network=SMALL)
CASES: dict[str, tuple[str, Any]] = {
    "maml": ("maml", MAML),
    "maml of first order": ("maml", replace(MAML, is_first_order=True)),
    "reptile": ("reptile", REPTILE),
    "reptile with adam": ("reptile", replace(REPTILE, inner_optimizer=InnerOptimizer.ADAM, inner_lr=0.02)),
    "meta-sgd": ("meta-sgd", MetaSGDConfig(outer_lr=1e-2, network=SMALL)),
    "platipus": (
        "platipus",
        PlatipusConfig(inner_lr=0.05, num_inner_steps=3, outer_lr=1e-2, initial_std=0.02, network=SMALL),
    ),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sinusoids(num_tasks: int, *, first_task: int = 0, split: Split = Split.TRAINING, shots: int = 10) -> FewShotBatch:
    return Sinusoids(shots=shots, queries=10).sample(num_tasks, split=split, first_task=first_task)


def offsets(num_tasks: int, *, seed: int = 0, shots: int = 10) -> FewShotBatch:
    """y = sin x + c with c ~ U[-3, 3] a task: whoever does not adapt errs by the variance of c, 3."""
    draw = generator(seed)
    x = 6.0 * torch.rand(num_tasks, 2 * shots, 1, generator=draw) - 3.0
    y = torch.sin(x) + 6.0 * torch.rand(num_tasks, 1, 1, generator=draw) - 3.0
    return FewShotBatch(support_x=x[:, :shots], support_y=y[:, :shots], query_x=x[:, shots:], query_y=y[:, shots:])


def blobs(num_tasks: int, *, seed: int = 0, ways: int = 3, shots: int = 2, queries: int = 12) -> FewShotBatch:
    """Classification in the plane: each class is a narrow cloud about a point of its own."""
    draw = generator(seed)
    centres = 2.0 * torch.randn(num_tasks, ways, 2, generator=draw)

    def examples(count: int) -> tuple[Tensor, Tensor]:
        classes = torch.arange(count) % ways
        return centres[:, classes] + 0.1 * torch.randn(num_tasks, count, 2, generator=draw), classes.expand(
            num_tasks, -1
        ).contiguous()

    support_x, support_y = examples(ways * shots)
    query_x, query_y = examples(queries)
    return FewShotBatch(support_x=support_x, support_y=support_y, query_x=query_x, query_y=query_y)


def double(batch: FewShotBatch) -> FewShotBatch:
    def cast(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    return FewShotBatch(
        support_x=cast(batch.support_x),
        support_y=cast(batch.support_y),
        query_x=cast(batch.query_x),
        query_y=cast(batch.query_y),
    )


def one_point(x: float, y: float) -> tuple[Tensor, Tensor]:
    return torch.tensor([[[x]]]), torch.tensor([[[y]]])


def set_line(network: nn.Module, *, weight: float, bias: float) -> None:
    """Make a network without hidden layers f(x) = weight · x + bias."""
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        parameters["weight_0"].fill_(weight)
        parameters["bias_0"].fill_(bias)


def finite_differences(value: Callable[[], Tensor], parameter: nn.Parameter, *, step: float = 1e-6) -> Tensor:
    """Central differences of ``value()`` in every entry of a float64 parameter."""
    flat = parameter.detach().view(-1)
    slopes = torch.empty_like(flat)
    for index in range(len(flat)):
        before = flat[index].item()
        ends = []
        for sign in (1.0, -1.0):
            flat[index] = before + sign * step
            ends.append(value().detach())
        flat[index] = before
        slopes[index] = (ends[0] - ends[1]) / (2.0 * step)
    return slopes.view_as(parameter)


def assert_gradient_is_finite_difference(
    value: Callable[[], Tensor], parameters: Iterable[tuple[str, nn.Parameter]]
) -> None:
    named = dict(parameters)
    gradient = dict(zip(named, torch.autograd.grad(value(), list(named.values())), strict=True))
    for name, parameter in named.items():
        expected = finite_differences(value, parameter)
        torch.testing.assert_close(gradient[name], expected, rtol=1e-5, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


def build(case: str, shapes: FewShotShapes = SHAPES) -> FewShotLearner:
    name, config = CASES[case]
    return factory.build(name, shapes, config, generator=generator())


def assert_same_tensors(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=0)
