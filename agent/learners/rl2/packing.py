"""Stretches: a layout for trials of different lengths with little padding.

Trials are sorted by length, longest first. A stretch is a time-major block of consecutive steps. It covers the trials
that have not ended when the stretch begins, so later stretches hold fewer trials. Trials of similar length form a
single stretch, [T, B] flattened.

Shapes: T steps, B trials, R trials of a minibatch, N steps of all its stretches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from agent.learners.rl2.trees import Tree, map_tensors

Stretches = tuple[tuple[int, int], ...]
"""Number of steps and number of trials of each stretch."""

NARROWING = 0.75
"""When at most this share of a stretch's trials is still running, the next stretch begins."""

MIN_TRIALS = 16
"""A stretch with this few trials is not narrowed: a step of fewer trials costs hardly less."""


def stretches_of(lengths: Sequence[int]) -> Stretches:
    """Return the stretches that hold trials of these lengths.

    Args:
        lengths: steps of each trial, longest first.
    """
    stretches: list[tuple[int, int]] = []
    start, num_trials = 0, len(lengths)
    while start < lengths[0]:
        stop = lengths[int(NARROWING * num_trials)] if num_trials > MIN_TRIALS else lengths[0]
        if stop > start:
            stretches.append((stop - start, num_trials))
        start, num_trials = stop, sum(length > stop for length in lengths)
    return tuple(stretches)


def lay_out(tree: Tree, trials: Int64[Tensor, " R"], stretches: Stretches) -> Tree:
    """Lay out the steps of some trials in stretches: tensors [N, ...] of tensors [T, B, ...].

    Args:
        tree: a tree of tensors of all trials (:mod:`agent.learners.rl2.trees`).
        trials: indices of the selected trials, longest first.
        stretches: the stretches of the selected trials.
    """

    def laid_out(values: Tensor) -> Tensor:
        parts: list[Tensor] = []
        start = 0
        for num_steps, width in stretches:
            of_stretch = values[start : start + num_steps].index_select(1, trials[:width])
            parts.append(of_stretch.flatten(0, 1))
            start += num_steps
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    return map_tensors(laid_out, tree)
