"""Layers whose initial parameters are drawn from a given generator, so that a seed determines them."""

from __future__ import annotations

import torch
from torch import nn


def linear(num_inputs: int, num_outputs: int, *, generator: torch.Generator, gain: float = 1.0) -> nn.Linear:
    """Return a linear layer with orthogonal weights of the given gain and zero bias."""
    layer = nn.Linear(num_inputs, num_outputs, device="meta").to_empty(device="cpu")
    nn.init.orthogonal_(layer.weight, gain=gain, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def table(num_inputs: int, num_outputs: int, *, generator: torch.Generator) -> nn.Embedding:
    """Return an embedding table. A look-up equals a linear layer without bias applied to one-hot inputs."""
    layer = nn.Embedding(num_inputs, num_outputs, device="meta").to_empty(device="cpu")
    nn.init.orthogonal_(layer.weight, generator=generator)
    return layer
