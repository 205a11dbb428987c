"""Minibatches: some trials of a batch, laid out in stretches for one optimiser step.

Shapes: T steps, B trials, R trials of a minibatch, N steps of its stretches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int64
from optree.dataclasses import register_node
from torch import Tensor

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.in_trial_memory.ring import HeldTrials
from agent.learners.rl2.packing import Stretches, lay_out
from agent.learners.rl2.steps import Steps
from agent.learners.rl2.trees import STATIC, map_tensors, select_trials
from envs.spaces import SpacePair


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class Targets:
    """The targets of an update, [T, B] of a trial batch or [N] of a minibatch.

    Attributes:
        log_prob: log-probability of the actions when they were drawn.
        advantage: minus the usual advantage of the step, in units of the advantages' root mean square.
        normalised_return: the returns in units of the critic.
    """

    log_prob: Tensor
    advantage: Tensor
    normalised_return: Tensor


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class Minibatch:
    """A minibatch of whole trials for one optimiser step.

    Attributes:
        stretches: steps and trials of each stretch.
        steps: [N].
        targets: [N].
        held: [T, R] the steps of the trials as an in-trial memory would hold them, longest trial first, if reads are
            recomputed; else None.
        entropy_coefficient: [].
        left: [R, H] the hidden states that earlier trials of the tasks left; None for trials that began empty.
    """

    stretches: Stretches = field(metadata=STATIC)
    steps: Steps
    targets: Targets
    held: HeldTrials | None
    entropy_coefficient: Tensor
    left: Tensor | None = None


MinibatchStep = Callable[[str, SpacePair, Minibatch], Tensor]
"""A function that takes one optimiser step for a family: :meth:`agent.learners.rl2.learner.RL2Learner.minibatch_step`
or a
replacement."""


def draw_minibatches(
    lengths: Int64[Tensor, " B"], config: RL2Config, *, generator: torch.Generator
) -> Iterator[tuple[Int64[Tensor, " R"], int]]:
    """Return rows of whole trials of similar length, longest first, in random order, each with its largest length.

    Lengths and order are fetched from the device together, not one minibatch at a time.

    Args:
        lengths: steps of each trial of the batch.
        config: the settings.
        generator: source of the order.
    """
    num_trials = len(lengths)
    wanted = round(int(lengths.sum()) / config.minibatch_steps)
    most = min(config.max_minibatches, num_trials // config.min_minibatch_trials)
    num_minibatches = max(1, min(wanted, most))
    order = torch.randperm(num_trials, generator=generator, device=lengths.device)
    by_length = order[lengths[order].argsort(stable=True, descending=True)]
    chunks = by_length.tensor_split(num_minibatches)
    turn = torch.randperm(num_minibatches, generator=generator, device=lengths.device)
    longest = lengths[torch.stack([chunk[0] for chunk in chunks])]
    turns, steps = torch.stack([turn, longest]).tolist()
    return ((chunks[index], steps[index]) for index in turns)


def select_minibatch(
    steps: Steps,
    targets: Targets,
    held: HeldTrials | None,
    *,
    rows: Int64[Tensor, " R"],
    stretches: Stretches,
    entropy_coefficient: Tensor,
    left: Float[Tensor, "B H"] | None = None,
) -> Minibatch:
    """Select some trials of a batch, longest first, and lay them out in stretches."""
    num_steps = sum(length for length, _width in stretches)
    return Minibatch(
        stretches=stretches,
        steps=lay_out(steps, rows, stretches),
        targets=lay_out(targets, rows, stretches),
        held=select_trials(held, rows, num_steps),
        entropy_coefficient=entropy_coefficient,
        left=None if left is None else left.index_select(0, rows),
    )


def padding_for(minibatch: Minibatch, num_steps: int) -> Minibatch:
    """Create a minibatch of padding like this one, of one stretch with as many trials and ``num_steps`` steps."""
    [(length, num_trials)] = minibatch.stretches

    def empty(values: Tensor) -> Tensor:
        if values.ndim == 0:
            return torch.zeros_like(values)
        # The first dimension of [N, ...] has R rows for each step, that of [T, R, ...] has one.
        return values.new_zeros(num_steps * (len(values) // length), *values.shape[1:])

    return replace(map_tensors(empty, minibatch), stretches=((num_steps, num_trials),))
