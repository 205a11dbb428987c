"""Keys: the vectors by which an in-trial memory compares observations.

k(o) = P o + V relu(U o + u)

P is fixed: the identity, or a random projection if observations are wide. The second term exists if
``RL2Config.learned_keys`` is set; it is learned and zero at first. Equal observations always have equal keys.

Shapes: ``*N`` any leading dimensions, D observation width, Q key width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from agent.learners.rl2.layers import linear

KEY_SIZE = 16
"""Largest Q: wider observations are projected to it at random, which bounds the work of a read. No measurement used
another width."""

HIDDEN_SIZE = 32
"""The number of rows of U."""


class KeyEmbedding(nn.Module):
    """The learned term of a key; zero at first.

    Args:
        width: D.
        key_size: Q.
        generator: the source of the initial parameters.
    """

    def __init__(self, width: int, key_size: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.enter = linear(width, HIDDEN_SIZE, generator=generator)
        self.leave = nn.Parameter(torch.zeros(key_size, HIDDEN_SIZE))

    def forward(self, observation: Float[Tensor, "*N D"]) -> Float[Tensor, "*N Q"]:
        """Return V relu(U o + u)."""
        return functional.linear(functional.relu(self.enter(observation)), self.leave)


@dataclass(frozen=True, kw_only=True)
class Keys:
    """A mapping from observations to keys.

    Attributes:
        projection: [D, Q] the transpose of P.
        embedding: the learned term; None if keys are fixed.
    """

    projection: Tensor
    embedding: KeyEmbedding | None = None

    @property
    def size(self) -> int:
        """Q, the width of a key."""
        return self.projection.shape[1]

    def of(self, observation: Float[Tensor, "*N D"]) -> Float[Tensor, "*N Q"]:
        """Return the keys of observations that are in the policy's units (vectors normalised)."""
        key = observation @ self.projection
        return key if self.embedding is None else key + self.embedding(observation)
