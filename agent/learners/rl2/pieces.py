"""Pieces: the steps of a segment, laid out as one column for each part of a trial.

Shapes: T steps of a segment, B rows, P pieces, L steps of the longest piece.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from agent.learners.rl2.trees import Tree, map_tensors


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """The layout of a segment's steps in pieces: the first pieces of all rows, then those that begin within it.

    Attributes:
        row: [P] int64, the piece's row.
        start: [P] int64, its first step in the segment.
        length: [P] int64, its number of steps.
    """

    row: Tensor
    start: Tensor
    length: Tensor

    @classmethod
    def of(cls, is_over: Bool[Tensor, "T B"]) -> Pieces:
        """Return the pieces of a segment.

        Args:
            is_over: whether the step was the last of its trial.
        """
        num_steps, num_rows = is_over.shape
        ends = is_over[:-1].nonzero()
        rows = torch.arange(num_rows, device=is_over.device)
        row, start = torch.cat([rows, ends[:, 1]]), torch.cat([torch.zeros_like(rows), ends[:, 0] + 1])
        is_last = is_over.clone()
        is_last[-1] = True
        step = torch.arange(num_steps, device=is_over.device).unsqueeze(1)
        stop = torch.where(is_last, step, num_steps).flip(0).cummin(0).values.flip(0)
        return cls(row=row, start=start, length=stop[start, row] + 1 - start)

    @property
    def is_trivial(self) -> bool:
        """Return whether every row is one piece."""
        return bool((self.start == 0).all())

    @property
    def is_valid(self) -> Bool[Tensor, "L P"]:
        """[L, P] which steps belong to a piece; the others are padding."""
        steps = torch.arange(int(self.length.max()), device=self.length.device)
        return steps.unsqueeze(1) < self.length

    def lay_out(self, tree: Tree) -> Tree:
        """Lay out tensors [T, B, ...] as [L, P, ...]; padding repeats the last step of its piece."""
        if self.is_trivial:
            return tree
        steps = torch.arange(int(self.length.max()), device=self.length.device).unsqueeze(1)
        step = self.start + torch.minimum(steps, self.length - 1)
        row = self.row.expand_as(step)
        return map_tensors(lambda values: values[step, row], tree)

    def places(self, step: Int64[Tensor, " N"], row: Int64[Tensor, " N"]) -> Int64[Tensor, " N"]:
        """Return the flat indices in [L, P] of steps that are given by step and row of the segment."""
        is_of_piece = (self.row == row.unsqueeze(1)) & (self.start <= step.unsqueeze(1))
        piece = torch.where(is_of_piece, self.start + 1, 0).argmax(1)
        return (step - self.start[piece]) * len(self.row) + piece

    def first_hidden(self, hidden: Float[Tensor, "B H"]) -> Float[Tensor, "P H"]:
        """Return the hidden states that the pieces begin with: 0 for those that begin within the segment."""
        return hidden[self.row] * (self.start == 0).unsqueeze(1)
