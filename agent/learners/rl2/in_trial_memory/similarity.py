"""An in-trial memory for vector observations: the last M steps, weighted by similarity to the current observation.

A rollout reads the memory step by step (:class:`SimilarityMemory`). If keys are learned, an update reads whole trials
again at once, with the current keys and with gradients to them (:func:`read_trials`). Which steps the memory held at
each time is known from the rollout; only the similarities are recomputed. With equal keys both functions return the
same numbers.

Shapes: B trials, T steps of whole trials, C steps of a block that are read at, M steps held, Q key width, K slots, F
features of a read; ``*N`` any leading dimensions.
"""

from __future__ import annotations

from copy import copy

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn import functional

from agent.learners.distributions import num_slots
from agent.learners.rl2.in_trial_memory.keys import Keys
from agent.learners.rl2.in_trial_memory.ring import RETURN_DISCOUNT, HeldSteps, HeldTrials, held_parts
from agent.learners.rl2.normalisation import symlog
from agent.learners.rl2.packing import Stretches
from envs.spaces import ActionKind, ActionSpec

NUM_FEATURES = 5
"""F, the number of features of a read of choices, or of numbers."""

BANDWIDTH = 0.5
"""h, the width of the kernel in standard deviations of an observation. No measurement used another width."""

BLOCK_STEPS = 64
"""C: whole trials are read in blocks of this many steps; a block needs the M steps before it and its own steps."""


class SimilarityMemory:
    """A memory of the last M steps, weighted by similarity to the current observation.

    Returns to go are used only for finished episodes, because those of an unfinished episode are unknown. They are
    measured relative to the usual return to go at similar observations, in units of their standard deviation over the
    trial.

    Features of a discrete slot:

    - mean reward
    - log(1 + n)
    - log(1 + n finished)
    - advantage of the return to go
    - usual return to go here

    Features of a continuous slot:

    - mean action
    - mean action weighted by exp(advantage), minus the mean action
    - log(1 + n)
    - log(1 + n finished)
    - usual return to go here

    The counts n are sums of w. The slots of a mixed action have both groups of features, one of which is 0.

    Args:
        num_trials: B.
        action: the action space.
        keys: the mapping from observations to keys.
        num_steps: M.
        discount: discount of returns to go.
        device: device of the tensors.
    """

    def __init__(
        self,
        num_trials: int,
        action: ActionSpec,
        *,
        keys: Keys,
        num_steps: int,
        discount: float = RETURN_DISCOUNT,
        device: torch.device | str = "cpu",
    ) -> None:
        self._steps = HeldSteps(num_trials, action, keys=keys, num_steps=num_steps, discount=discount, device=device)
        self._num_slots = num_slots(action)

    def read(self, observation: Float[Tensor, "B D"]) -> Float[Tensor, "B K F"]:
        """Return similarity-weighted statistics of the held steps."""
        steps = self._steps
        if steps.is_empty:
            return observation.new_zeros(len(observation), self._num_slots, num_features(steps.action))
        values = steps.values
        key = steps.key(observation).unsqueeze(1)
        weights = kernel_weights(key, steps.keys_and_squares)
        weighted = values[:, :4] * weights
        local = weighted.sum(-1)
        rate = steps.return_rate()
        usual = _usual(local[:, 2], local[:, 3])
        chosen, numbers = torch.tensor_split(steps.actions, [steps.action.num_choices], dim=1)
        parts: list[Tensor] = []
        if steps.action.choices:
            sums = torch.bmm(weighted, chosen.transpose(1, 2))
            parts.append(_discrete_read(sums, usual=usual, rate=rate))
        if steps.action.has_numbers:
            advantages = _advantages(steps.returns, usual=usual, rate=rate)
            by_return = torch.stack([weighted[:, 2], weighted[:, 2] * advantages.exp_()], dim=1)
            sums = torch.bmm(by_return, numbers.transpose(1, 2))
            parts.append(_continuous_read(sums, by_return.sum(-1), local[:, 0], usual))
        return _joined_reads(parts)

    def keep(self, rows: Shaped[Tensor, " R"]) -> None:
        """Keep only these trials, in this order."""
        self._steps.keep(rows)

    def select(self, rows: Shaped[Tensor, " R"]) -> SimilarityMemory:
        """Return a copy that holds these trials, in this order."""
        selected = copy(self)
        selected._steps = copy(self._steps)  # noqa: SLF001
        selected.keep(rows)
        return selected

    def forget(self, rows: Shaped[Tensor, " R"]) -> None:
        """Drop every step of these trials."""
        self._steps.forget(rows)

    def begin_again(self, episodes_per_trial: int) -> None:  # noqa: ARG002 (reads do not depend on it)
        """Begin another trial in each of the tasks."""
        self._steps.begin_again()

    def write(
        self,
        *,
        observation: Float[Tensor, "B D"],
        action: Shaped[Tensor, "B ..."],
        reward: Float[Tensor, " B"],
        next_observation: Shaped[Tensor, "B _"],  # noqa: ARG002 (values come from returns, not from a model)
        terminated: Bool[Tensor, " B"],  # noqa: ARG002
        active: Bool[Tensor, " B"],
    ) -> None:
        """Store the step in place of the oldest one."""
        self._steps.write(observation=observation, action=action, reward=reward, active=active)

    def end_episodes(self, ended: Bool[Tensor, " B"]) -> None:
        """Fix the returns to go of the episodes that ended."""
        self._steps.settle(ended)


def num_features(action: ActionSpec) -> int:
    """Return F of an action space: the features of choices and of numbers are different ones."""
    return 2 * NUM_FEATURES if action.kind is ActionKind.MIXED else NUM_FEATURES


def read_trials(
    keys: Float[Tensor, "T B Q"], held: HeldTrials, stretches: Stretches, *, num_steps: int
) -> Float[Tensor, "N K F"]:
    """Return every read of whole trials, with gradients to the keys.

    The numbers equal those that a :class:`SimilarityMemory` returns step by step.

    Args:
        keys: keys of all observations, including padding.
        held: the data of each step that the memory holds.
        stretches: the layout of the steps that are read at (:mod:`agent.learners.rl2.packing`).
        num_steps: M.
    """
    if held.action.kind is ActionKind.MIXED:
        parts = held_parts(held)
        return _joined_reads([read_trials(keys, part, stretches, num_steps=num_steps) for part in parts])
    with_squares = torch.cat([keys, keys.square().sum(-1, keepdim=True)], dim=-1)
    sums: list[Tensor] = []
    rates: list[Tensor] = []
    start = 0
    for length, width in stretches:
        for first in range(start, start + length, BLOCK_STEPS):
            rows = slice(first, min(first + BLOCK_STEPS, start + length))
            of_block = _sums_of_block(with_squares, held, rows, width, num_steps=num_steps)
            sums.append(of_block.transpose(0, 1).flatten(0, 1))
            rates.append(held.return_rate[rows, :width].flatten())
        start += length
    num_slots_ = held.actions.shape[-1]
    if held.action.kind is ActionKind.CONTINUOUS:
        actions, totals, num_held, usual = torch.split(torch.cat(sums), [2 * num_slots_, 2, 1, 1], dim=-1)
        return _continuous_read(actions.reshape(-1, 2, num_slots_), totals, num_held.squeeze(-1), usual.squeeze(-1))
    by_slot, usual = torch.split(torch.cat(sums), [4 * num_slots_, 1], dim=-1)
    return _discrete_read(by_slot.reshape(-1, 4, num_slots_), usual=usual.squeeze(-1), rate=torch.cat(rates))


def _sums_of_block(
    with_squares: Float[Tensor, "T B Q1"],
    held: HeldTrials,
    rows: slice,
    width: int,
    *,
    num_steps: int,
) -> Float[Tensor, "W C E"]:
    """Return the sums from which reads are computed, for the first W trials at the steps ``rows``.

    The result holds weighted sums by slot, then the usual return.
    """
    # A trial's first step has no step before it. The step itself takes that place, with weight 0 in the sums.
    oldest, newest = max(0, rows.start - num_steps), max(1, rows.stop - 1)
    actions, reward, to_go, end = (
        values[oldest:newest, :width].transpose(0, 1).contiguous()
        for values in (held.actions, held.reward, held.return_to_go, held.end)
    )
    step = torch.arange(oldest, newest, device=with_squares.device)
    now = torch.arange(rows.start, rows.stop, device=with_squares.device).unsqueeze(-1)
    age = now - step
    is_held = ((age > 0) & (age <= num_steps)).to(reward.dtype).unsqueeze(0)
    # 1 where the step's episode ended before now. Stored as numbers because a Boolean tensor would be converted anyway.
    is_finished = (now.to(reward.dtype) - end.unsqueeze(1)).clamp_(0.0, 1.0).mul_(is_held)
    query, keys = with_squares[rows, :width, :-1].transpose(0, 1), with_squares[oldest:newest, :width].permute(1, 2, 0)
    weights = kernel_weights(query, keys)
    weights_held, weights_finished = weights * is_held, weights * is_finished
    returned = torch.stack([torch.ones_like(to_go), to_go], dim=-1)
    if held.action.kind is ActionKind.CONTINUOUS:
        usual = _usual(*torch.bmm(weights_finished, returned).unbind(-1))
        rate = held.return_rate[rows, :width].t()
        advantages = _advantages(to_go.unsqueeze(1), usual=usual, rate=rate)
        by_return = torch.stack([weights_finished, weights_finished * advantages.exp()], dim=2)
        sums = torch.bmm(by_return.flatten(1, 2), actions).view(*usual.shape, -1)
        return torch.cat([sums, by_return.sum(-1), weights_held.sum(-1, keepdim=True), usual.unsqueeze(-1)], dim=-1)
    of_held = torch.bmm(weights_held, torch.cat([actions, actions * reward.unsqueeze(-1)], dim=-1))
    finished_values = torch.cat([actions, actions * to_go.unsqueeze(-1), returned], dim=-1)
    of_finished = torch.bmm(weights_finished, finished_values)
    usual = _usual(*of_finished[..., -2:].unbind(-1))
    return torch.cat([of_held, of_finished[..., :-2], usual.unsqueeze(-1)], dim=-1)


def _usual(num_finished: Float[Tensor, "*N"], returns: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Return the usual return to go, from the sums of weights and of weighted returns."""
    return returns / num_finished.clamp(min=1e-3)


def _advantages(
    returns: Float[Tensor, "..."], *, usual: Float[Tensor, "*N"], rate: Float[Tensor, "*N"]
) -> Float[Tensor, "*N M"]:
    """Return by how much returns to go exceed the usual one, in units of their standard deviation."""
    return ((returns - usual.unsqueeze(-1)) * rate.unsqueeze(-1)).clamp(-5.0, 5.0)


def _discrete_read(
    sums: Float[Tensor, "*N 4 K"], *, usual: Float[Tensor, "*N"], rate: Float[Tensor, "*N"]
) -> Float[Tensor, "*N K F"]:
    """Compute features from weighted sums by slot: number of steps, rewards, finished steps, and returns to go."""
    num_held, rewards, num_finished, returns = sums.unbind(-2)
    advantages = (returns / num_finished.clamp(min=1e-3) - usual.unsqueeze(-1)) * rate.unsqueeze(-1)
    features = [
        rewards / num_held.clamp(min=1e-3),
        num_held.log1p(),
        num_finished.log1p(),
        advantages.clamp(-5.0, 5.0) * (num_finished / (num_finished + 0.1)),
        symlog(usual).unsqueeze(-1).expand_as(num_held),
    ]
    return torch.stack(features, dim=-1)


def _continuous_read(
    sums: Float[Tensor, "*N 2 K"],
    totals: Float[Tensor, "*N 2"],
    num_held: Float[Tensor, "*N"],
    usual: Float[Tensor, "*N"],
) -> Float[Tensor, "*N K F"]:
    """Compute features of continuous slots.

    Args:
        sums: actions of finished steps, summed with weights w, then with weights w · exp(advantage).
        totals: the sums of both kinds of weights.
        num_held: the sum of weights of all held steps.
        usual: the usual return to go.
    """
    mean_action, better_action = (sums / totals.clamp(min=1e-3).unsqueeze(-1)).unbind(-2)
    of_place = [num_held.log1p(), totals[..., 0].log1p(), symlog(usual)]
    shared = [values.unsqueeze(-1).expand_as(mean_action) for values in of_place]
    return torch.stack([mean_action, better_action - mean_action, *shared], dim=-1)


def _joined_reads(parts: list[Tensor]) -> Float[Tensor, "*N K F"]:
    """Return the reads of choices, then of numbers, each with its own features and 0 for those of the other."""
    if len(parts) == 1:
        return parts[0]
    of_choices, of_numbers = parts
    before, after = (0, NUM_FEATURES), (NUM_FEATURES, 0)
    return torch.cat([functional.pad(of_choices, before), functional.pad(of_numbers, after)], dim=-2)


def kernel_weights(key: Float[Tensor, "B C Q"], keys_and_squares: Float[Tensor, "B Q1 M"]) -> Float[Tensor, "B C M"]:
    """Return the weights of held steps at observations: w_i = exp(-|k - k_i|² / (2 Q h²)), a Gaussian kernel.

    h is ``BANDWIDTH``, k the key of the observation and k_i the key of held step i. The distance is computed as
    |k|² - 2 k·k_i + |k_i|², which avoids a tensor of shape [B, Q, M]. Entries without a step have weights too, so their
    values must contribute nothing.

    Args:
        key: keys of the observations.
        keys_and_squares: keys of the held steps, followed by the squares of their norms as the last row (Q1 = Q + 1).
    """
    square = key.square().sum(-1, keepdim=True)
    inverse_width = 1.0 / (2.0 * key.shape[-1] * BANDWIDTH**2)
    scaled = torch.cat([key * -2.0, torch.ones_like(square)], dim=-1).mul_(-inverse_width)
    return torch.bmm(scaled, keys_and_squares).sub_(square * inverse_width).exp_()
