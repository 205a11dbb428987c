"""An in-trial memory for vectors: the last M steps, weighed by their likeness to the present observation.

A rollout reads it step by step (:class:`SimilarityMemory`). Where keys are learned, an update reads whole trials again
at once, by the keys as they are by then and with gradients to them (:func:`read_trials`): what was held when is known,
only how like it was to what was observed is asked anew. Both give the same numbers.

Shapes: B trials, T steps of whole trials, C steps of a block that are read at, M steps held, Q key width, K slots,
F features of a read; ``*N`` any leading dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from agent.rl2.distributions import num_slots
from agent.rl2.held_steps import RETURN_DISCOUNT, HeldSteps, HeldTrials
from agent.rl2.keys import Keys
from agent.rl2.normalisation import symlog
from agent.rl2.stretches import Stretches
from envs.spaces import ActionKind, ActionSpec

NUM_FEATURES = 5
"""F."""

BLOCK_STEPS = 64
"""C: so many steps of whole trials are read at together, over the M before the first and those between."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How much a held step says at an observation, w.

    By a Gaussian kernel of the distance between keys, w_i = exp(-|k - k_i|² / (2 Q h²)) with h the bandwidth; or by
    matching attention (Vinyals et al. 2016, eq. 2), w_i = exp(c_i / h²) / Σ_j exp(c_j / h²) with c_i the cosine of k
    and k_i. For keys of norm √Q the two differ by the sum over steps alone. The paper has no temperature h²: it learns
    its keys.

    Attributes:
        bandwidth: h, in the observations' units.
        is_matching: whether steps are weighed by matching attention.
    """

    bandwidth: float
    is_matching: bool = False

    def weights(
        self, key: Float[Tensor, "B C Q"], keys_and_squares: Float[Tensor, "B Q1 M"], is_held: Shaped[Tensor, "..."]
    ) -> Float[Tensor, "B C M"]:
        """w, by way of |k - k_i|² = |k|² - 2 k·k_i + |k_i|² or of the same products: no [B, Q, M] tensor is made.

        Args:
            key: of what is observed.
            keys_and_squares: of the steps held, and beneath them the squares of their norms (Q1 = Q + 1).
            is_held: [B or 1, C or 1, M] more than 0 where there is a step. The kernel does not look at it: what is not
                held must come to nothing by its values.
        """
        square = key.square().sum(-1, keepdim=True)
        if not self.is_matching:
            inverse_width = 1.0 / (2.0 * key.shape[-1] * self.bandwidth**2)
            scaled = torch.cat([key * -2.0, torch.ones_like(square)], dim=-1).mul_(-inverse_width)
            return torch.bmm(scaled, keys_and_squares).sub_(square * inverse_width).exp_()
        products = torch.bmm(key, keys_and_squares[:, :-1])
        norms = (square * keys_and_squares[:, -1:]).clamp_(min=1e-24).sqrt_()
        cosines = products.div(norms) * (1.0 / self.bandwidth**2)
        attention = cosines.masked_fill(is_held <= 0, -torch.inf).softmax(-1)
        return torch.where(is_held > 0, attention, 0.0)


class SimilarityMemory:
    """The last M steps, weighed by their likeness to the present observation.

    Only finished episodes' returns to go are read: of an unfinished one, no one knows them yet. They are read relative
    to what is usual here, in units of their spread over the trial.

    Features of a discrete slot: mean reward, log(1 + n), log(1 + n finished), advantage of the return to go, and the
    return to go usual here. Features of a continuous slot: mean action, how far actions lie from it when weighed by
    exp(advantage), log(1 + n), log(1 + n finished), and the return to go usual here. Sums n are sums of w: under
    matching attention, shares of it.

    Args:
        num_trials: B.
        action: the action space.
        keys: of observations.
        num_steps: M.
        likeness: how steps are weighed.
        discount: of returns to go.
        device: where the tensors live.
    """

    def __init__(
        self,
        num_trials: int,
        action: ActionSpec,
        *,
        keys: Keys,
        num_steps: int,
        likeness: Likeness,
        discount: float = RETURN_DISCOUNT,
        device: torch.device | str = "cpu",
    ) -> None:
        self._steps = HeldSteps(num_trials, action, keys=keys, num_steps=num_steps, discount=discount, device=device)
        self._num_slots = num_slots(action)
        self._likeness = likeness

    def read(self, observation: Float[Tensor, "B D"]) -> Float[Tensor, "B K F"]:
        """Similarity-weighted statistics of the steps held."""
        steps = self._steps
        if steps.is_empty:
            return observation.new_zeros(len(observation), self._num_slots, NUM_FEATURES)
        values = steps.values
        key = steps.key(observation).unsqueeze(1)
        weights = self._likeness.weights(key, steps.keys_and_squares, values[:, :1])
        weighted = values[:, :4] * weights
        local = weighted.sum(-1)
        rate = steps.return_rate()
        if steps.action.kind is ActionKind.CONTINUOUS:
            usual = _usual(local[:, 2], local[:, 3])
            advantages = _advantages(steps.returns, usual=usual, rate=rate)
            by_return = torch.stack([weighted[:, 2], weighted[:, 2] * advantages.exp_()], dim=1)
            sums = torch.bmm(by_return, steps.actions.transpose(1, 2))
            return _continuous_read(sums, by_return.sum(-1), local[:, 0], usual)
        sums = torch.bmm(weighted, steps.actions.transpose(1, 2))
        return _discrete_read(sums, usual=_usual(local[:, 2], local[:, 3]), rate=rate)

    def keep(self, rows: Shaped[Tensor, " R"]) -> None:
        """Remember these trials alone, in this order."""
        self._steps.keep(rows)

    def write(
        self,
        *,
        observation: Float[Tensor, "B D"],
        action: Shaped[Tensor, "B ..."],
        reward: Float[Tensor, " B"],
        next_observation: Float[Tensor, "B D"],  # noqa: ARG002 (values come from returns, not from a model)
        terminated: Bool[Tensor, " B"],  # noqa: ARG002
        active: Bool[Tensor, " B"],
    ) -> None:
        """Hold the step in place of the oldest."""
        self._steps.write(observation=observation, action=action, reward=reward, active=active)

    def end_episodes(self, ended: Bool[Tensor, " B"]) -> None:
        """Settle their returns to go."""
        self._steps.settle(ended)


def read_trials(
    keys: Float[Tensor, "T B Q"], held: HeldTrials, stretches: Stretches, *, num_steps: int, likeness: Likeness
) -> Float[Tensor, "N K F"]:
    """Every read of whole trials, as a :class:`SimilarityMemory` gave them step by step, with gradients to the keys.

    Args:
        keys: of all observations, those of padding too.
        held: what was held of each step.
        stretches: the steps that are read at, and how they are laid out (:mod:`agent.rl2.stretches`).
        num_steps: M.
        likeness: how steps are weighed.
    """
    with_squares = torch.cat([keys, keys.square().sum(-1, keepdim=True)], dim=-1)
    sums: list[Tensor] = []
    rates: list[Tensor] = []
    start = 0
    for length, width in stretches:
        for first in range(start, start + length, BLOCK_STEPS):
            rows = slice(first, min(first + BLOCK_STEPS, start + length))
            of_block = _sums_of_block(with_squares, held, rows, width, num_steps=num_steps, likeness=likeness)
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
    likeness: Likeness,
) -> Float[Tensor, "W C E"]:
    """What the first W trials' reads at steps ``rows`` are made of: weighed sums by slot, and the usual return."""
    # At a trial's first step there is no one before it: it stands for itself, and is then not counted.
    oldest, newest = max(0, rows.start - num_steps), max(1, rows.stop - 1)
    actions, reward, to_go, end = (
        values[oldest:newest, :width].transpose(0, 1).contiguous()
        for values in (held.actions, held.reward, held.return_to_go, held.end)
    )
    step = torch.arange(oldest, newest, device=with_squares.device)
    now = torch.arange(rows.start, rows.stop, device=with_squares.device).unsqueeze(-1)
    age = now - step
    is_held = ((age > 0) & (age <= num_steps)).to(reward.dtype).unsqueeze(0)
    # 1 where the step's episode ended before now. Numbers, not truth values: these would be turned into numbers anyhow.
    is_finished = (now.to(reward.dtype) - end.unsqueeze(1)).clamp_(0.0, 1.0).mul_(is_held)
    query, keys = with_squares[rows, :width, :-1].transpose(0, 1), with_squares[oldest:newest, :width].permute(1, 2, 0)
    weights = likeness.weights(query, keys, is_held + (now == 0))
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
    """The return to go usual here, from the sums of weights and of weighed returns."""
    return returns / num_finished.clamp(min=1e-3)


def _advantages(
    returns: Float[Tensor, "..."], *, usual: Float[Tensor, "*N"], rate: Float[Tensor, "*N"]
) -> Float[Tensor, "*N M"]:
    """How far returns to go lie above the usual one, in units of their spread."""
    return ((returns - usual.unsqueeze(-1)) * rate.unsqueeze(-1)).clamp(-5.0, 5.0)


def _discrete_read(
    sums: Float[Tensor, "*N 4 K"], *, usual: Float[Tensor, "*N"], rate: Float[Tensor, "*N"]
) -> Float[Tensor, "*N K F"]:
    """Features from weighed sums by slot: of steps, rewards, finished steps, and their returns to go."""
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
    """Features from the actions of finished steps, as weighed and by return besides, and both weights' sums."""
    mean_action, better_action = (sums / totals.clamp(min=1e-3).unsqueeze(-1)).unbind(-2)
    of_place = [num_held.log1p(), totals[..., 0].log1p(), symlog(usual)]
    shared = [values.unsqueeze(-1).expand_as(mean_action) for values in of_place]
    return torch.stack([mean_action, better_action - mean_action, *shared], dim=-1)
