"""Steps of trials of unlike length, laid out one after another with little padding between.

Trials stand longest first. A stretch is some steps of the trials that are still under way at its beginning, time-major:
the later the stretch, the fewer they are. Trials of like length make one stretch, [T, B] flattened.

Shapes: T steps, B trials, R trials of a minibatch, N steps of all its stretches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

Stretches = tuple[tuple[int, int], ...]
"""Steps and trials of each stretch."""

NARROWING = 0.75
"""Share of a stretch's trials: when no more are under way, the next stretch begins."""

MIN_TRIALS = 16
"""Stretches of so few trials are not narrowed: a step of theirs costs as much however few they are."""


def stretches_of(lengths: Sequence[int]) -> Stretches:
    """The stretches that hold these trials.

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


def lay_out(values: Shaped[Tensor, "T B ..."], trials: Int64[Tensor, " R"], stretches: Stretches) -> Tensor:
    """What some trials have in their stretches: [N, ...].

    Args:
        values: of all trials.
        trials: those wanted, longest first.
        stretches: theirs.
    """
    parts: list[Tensor] = []
    start = 0
    for num_steps, width in stretches:
        of_stretch = values[start : start + num_steps].index_select(1, trials[:width])
        parts.append(of_stretch.flatten(0, 1))
        start += num_steps
    return parts[0] if len(parts) == 1 else torch.cat(parts)
