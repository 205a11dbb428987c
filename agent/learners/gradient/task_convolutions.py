"""The convolutional network for gradient-based adaptation: four layers, with one set of parameters per task.

A layer is a 3 × 3 convolution, halving by max pooling or by the convolution's own stride, normalisation by the
statistics of the task's own batch, and rectification. One linear layer follows (Finn et al. 2017, arXiv:1703.03400,
section 5.2, after Vinyals et al. 2016; the paper uses strides on Omniglot). There are no running statistics: the
examples of a task's batch determine its normalisation, in learning and in predicting. Predictions of queries in the
same batch therefore influence one another; a predictor without this effect runs each query with the support set.

Departures:

- Max pooling comes before normalisation, as in ``embeddings``.
- On request the linear layer starts at 0. No class is then favoured at the start, and the first step forms the layer
  from the support set's features alone.

Only the convolutions loop over tasks. One product with all tasks' patches made a step of MAML half as long again, and a
grouped convolution is no faster than M calls of the library's convolution.

Shapes: M tasks, S examples a task, C channels in, F channels out, H × W pixels, L = H · W, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 (torch's convention)
from jaxtyping import Float
from torch import Tensor, nn

NORM_EPSILON = 1e-5


class TaskConvolutions(nn.Module):
    """A Conv4 network with stacked parameters.

    Args:
        input_shape: (channels, height, width).
        output_size: O.
        channels: F of each layer.
        is_strided: halve by the convolutions' stride instead of by max pooling.
        has_zero_head: start with the last layer at 0.
        generator: the source of the weights (He et al. 2015; the last layer 1 / fan-in); biases are 0.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        *,
        channels: tuple[int, ...],
        is_strided: bool = False,
        has_zero_head: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.is_strided = is_strided
        fan_in, height, width = input_shape
        self.num_layers = len(channels)
        for layer, fan_out in enumerate(channels):
            kernel = torch.randn(fan_out, fan_in * 9, generator=generator) * math.sqrt(2.0 / (9 * fan_in))
            self.register_parameter(f"kernel_{layer}", nn.Parameter(kernel))
            self.register_parameter(f"gain_{layer}", nn.Parameter(torch.ones(fan_out)))
            self.register_parameter(f"shift_{layer}", nn.Parameter(torch.zeros(fan_out)))
            odd = 1 if is_strided else 0
            fan_in, height, width = fan_out, (height + odd) // 2, (width + odd) // 2
        size = fan_in * height * width
        head = torch.randn(size, output_size, generator=generator) / size**0.5
        self.register_parameter("weight", nn.Parameter(torch.zeros_like(head) if has_zero_head else head))
        self.register_parameter("bias", nn.Parameter(torch.zeros(output_size)))

    def forward(self, x: Float[Tensor, "S C H W"]) -> Float[Tensor, "S O"]:
        """Run one task's examples with the network's own parameters."""
        parameters = {name: parameter.unsqueeze(0) for name, parameter in self.named_parameters()}
        return self.forward_tasks(parameters, x.unsqueeze(0)).squeeze(0)

    def forward_tasks(self, parameters: Mapping[str, Tensor], x: Float[Tensor, "M S C H W"]) -> Float[Tensor, "M S O"]:
        """Run each task's examples with that task's parameters.

        Args:
            parameters: name → [M, *shape], or [1, *shape] if all tasks share the parameter.
            x: the examples.
        """
        hidden = x
        for layer in range(self.num_layers):
            hidden = _convolved(hidden, parameters[f"kernel_{layer}"], stride=2 if self.is_strided else 1)
            hidden = hidden if self.is_strided else _halved(hidden)
            hidden = _normalised(hidden, parameters[f"gain_{layer}"], parameters[f"shift_{layer}"]).relu()
        return hidden.flatten(2) @ parameters["weight"] + parameters["bias"].unsqueeze(1)


def _convolved(
    x: Float[Tensor, "M S C H W"], kernel: Float[Tensor, "#M F K"], *, stride: int
) -> Float[Tensor, "M S F H2 W2"]:
    kernels = kernel.view(*kernel.shape[:2], x.shape[2], 3, 3)
    if len(kernels) == 1:
        shared = F.conv2d(x.flatten(0, 1), kernels[0], padding=1, stride=stride)
        return shared.view(*x.shape[:2], *shared.shape[1:])
    each = [F.conv2d(own, weights, padding=1, stride=stride) for own, weights in zip(x, kernels, strict=True)]
    return torch.stack(each)


def _halved(x: Float[Tensor, "M S F H W"]) -> Float[Tensor, "M S F H2 W2"]:
    pooled = F.max_pool2d(x.flatten(0, 1), 2)
    return pooled.view(*x.shape[:2], *pooled.shape[1:])


def _normalised(
    x: Float[Tensor, "M S F H W"], gain: Float[Tensor, "#M F"], shift: Float[Tensor, "#M F"]
) -> Float[Tensor, "M S F H W"]:
    """Return (x - mean) / √(variance + ε) · gain + shift over each task's examples and pixels."""
    mean = x.mean((1, 3, 4), keepdim=True)
    variance = (x - mean).square().mean((1, 3, 4), keepdim=True)
    scale = gain[:, None, :, None, None] * (variance + NORM_EPSILON).rsqrt()
    return (x - mean) * scale + shift[:, None, :, None, None]
