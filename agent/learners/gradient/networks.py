"""The networks that few-shot learners adapt, with one set of parameters per task.

A network is an ordinary module over examples ([B, …] → [B, O]) that can also be run with M sets of parameters at once
(:class:`TaskNetwork`). The tasks are a batch dimension of every product, not a loop.

Shapes: B examples, M tasks, S examples a task, O outputs; ``…`` is one input's own shape.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor, nn

from agent.learners.gradient.task_convolutions import TaskConvolutions
from envs.few_shot.tasks import FewShotShapes


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The choice of a network from an input to its outputs.

    Attributes:
        hidden_sizes: widths of the hidden layers of a multi-layer perceptron (vector inputs).
        channels: widths of the convolutions (image inputs).
        is_strided: whether convolutions halve the image by their stride, as in the MAML paper on Omniglot, instead of
            by max pooling.
        has_zero_head: whether the parameters of the linear layer after the convolutions start at 0.
    """

    hidden_sizes: tuple[int, ...] = (40, 40)
    channels: tuple[int, ...] = (64, 64, 64, 64)
    is_strided: bool = False
    has_zero_head: bool = False


@runtime_checkable
class TaskNetwork(Protocol):
    """A network that can be run with M sets of parameters at once."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return its own parameters by name."""
        ...

    def forward_tasks(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Run each task's examples with that task's parameters; differentiable twice.

        Layers that compute statistics over a batch compute them over each task's S examples.

        Args:
            parameters: name → [M, *shape] for every name of ``named_parameters``; [1, *shape] is shared by all tasks.
            x: [M, S, …].

        Returns:
            [M, S, O].
        """
        ...


class ExplicitGradientNetwork(TaskNetwork, Protocol):
    """A task network with a hand-written gradient, for speed; other networks use ``torch.func.grad``."""

    def gradient_tasks(
        self, parameters: Mapping[str, Tensor], x: Tensor, slope: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """Return the gradient of each task's loss in that task's parameters, itself differentiable.

        Args:
            parameters: as in ``forward_tasks``.
            x: [M, S, …].
            slope: the derivative of the loss with respect to the outputs, [M, S, O] → [M, S, O].

        Returns:
            Name → [M, *shape].
        """
        ...


def has_explicit_gradient(network: TaskNetwork) -> TypeGuard[ExplicitGradientNetwork]:
    """Return whether a network has a hand-written gradient.

    ``isinstance`` with a protocol would cost as much as a layer.
    """
    return hasattr(network, "gradient_tasks")


class MLP(nn.Module):
    """A multi-layer perceptron with rectified units; weights are stored as [in, out].

    Args:
        input_shape: one input's shape; it is flattened.
        output_size: O.
        hidden_sizes: widths of the hidden layers.
        generator: the source of the weights (He et al. 2015: variance 2 / fan-in, the last layer 1 / fan-in); biases
            are 0.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        *,
        hidden_sizes: tuple[int, ...],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        sizes = (math.prod(input_shape), *hidden_sizes, output_size)
        self.num_layers = len(sizes) - 1
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            scale = math.sqrt((2.0 if layer < self.num_layers - 1 else 1.0) / fan_in)
            weight = torch.randn(fan_in, fan_out, generator=generator) * scale
            self.register_parameter(f"weight_{layer}", nn.Parameter(weight))
            self.register_parameter(f"bias_{layer}", nn.Parameter(torch.zeros(fan_out)))

    def forward(self, x: Tensor) -> Tensor:
        """Compute [B, …] → [B, O]."""
        parameters = {name: parameter.unsqueeze(0) for name, parameter in self.named_parameters()}
        return self.forward_tasks(parameters, x.unsqueeze(0)).squeeze(0)

    def forward_tasks(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Compute [M, S, …] → [M, S, O], task m with parameters m."""
        return self._layers(parameters, x)[-1]

    def gradient_tasks(
        self, parameters: Mapping[str, Tensor], x: Tensor, slope: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """Return the gradient, by hand-written back-propagation.

        This takes half the operations of differentiating autograd's own graph.

        With h_l the input of layer l and δ_l the loss's derivative in its output:
        ∂L/∂W_l = h_lᵀ δ_l,  ∂L/∂b_l = Σ_S δ_l,  δ_{l-1} = (δ_l W_lᵀ) ∘ [h_l > 0].
        """
        hidden = self._layers(parameters, x)
        delta = slope(hidden[-1])
        gradient: dict[str, Tensor] = {}
        for layer in reversed(range(self.num_layers)):
            gradient[f"weight_{layer}"] = torch.bmm(hidden[layer].transpose(1, 2), delta)
            gradient[f"bias_{layer}"] = delta.sum(1)
            if layer > 0:
                weight = parameters[f"weight_{layer}"].expand(len(x), -1, -1)
                back = torch.bmm(delta, weight.transpose(1, 2))
                delta = torch.ops.aten.threshold_backward(back, hidden[layer], 0)
        return {name: gradient[name] for name in parameters}

    def _layers(self, parameters: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
        """Return the input of each layer, then the outputs."""
        hidden = [x.flatten(2)]
        for layer in range(self.num_layers):
            weight = parameters[f"weight_{layer}"].expand(len(x), -1, -1)
            output = torch.baddbmm(parameters[f"bias_{layer}"].unsqueeze(1), hidden[-1], weight)
            hidden.append(output.relu() if layer < self.num_layers - 1 else output)
        return hidden


def build_network(
    shapes: FewShotShapes, config: NetworkConfig, *, generator: torch.Generator
) -> MLP | TaskConvolutions:
    """Return the network for inputs and outputs of these shapes: convolutions for images, a perceptron for vectors."""
    if len(shapes.input_shape) == 3:
        return TaskConvolutions(
            shapes.input_shape,
            shapes.output_size,
            channels=config.channels,
            is_strided=config.is_strided,
            has_zero_head=config.has_zero_head,
            generator=generator,
        )
    return MLP(shapes.input_shape, shapes.output_size, hidden_sizes=config.hidden_sizes, generator=generator)
