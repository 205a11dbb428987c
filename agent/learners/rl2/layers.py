"""Layers whose initial parameters are drawn from a given generator, so that a seed determines them.

torch's layers draw values of their own, from the global generator; on the device "meta", where they would draw nothing,
they import sympy and torch's compiler instead, which takes a second. The layers below leave their memory as it is.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn


class _Linear(nn.Linear):
    """A linear layer without initial values."""

    def reset_parameters(self) -> None:
        """Draw nothing."""


class _Embedding(nn.Embedding):
    """An embedding table without initial values."""

    def reset_parameters(self) -> None:
        """Draw nothing."""


class _Conv2d(nn.Conv2d):
    """A convolution without initial values."""

    def reset_parameters(self) -> None:
        """Draw nothing."""


def linear(num_inputs: int, num_outputs: int, *, generator: torch.Generator, gain: float = 1.0) -> nn.Linear:
    """Return a linear layer with orthogonal weights of the given gain and zero bias."""
    layer = _Linear(num_inputs, num_outputs)
    nn.init.orthogonal_(layer.weight, gain=gain, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def table(num_inputs: int, num_outputs: int, *, generator: torch.Generator) -> nn.Embedding:
    """Return an embedding table. A look-up equals a linear layer without bias applied to one-hot inputs."""
    layer = _Embedding(num_inputs, num_outputs)
    nn.init.orthogonal_(layer.weight, generator=generator)
    return layer


def convolution(
    num_inputs: int, num_outputs: int, kernel: int, *, stride: int, padding: int, generator: torch.Generator
) -> nn.Conv2d:
    """Return a convolution with orthogonal weights and zero bias."""
    layer = _Conv2d(num_inputs, num_outputs, kernel, stride, padding)
    nn.init.orthogonal_(layer.weight, gain=2**0.5, generator=generator)
    nn.init.zeros_(cast("nn.Parameter", layer.bias))
    return layer
