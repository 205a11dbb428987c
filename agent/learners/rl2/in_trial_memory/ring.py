"""The last M steps of B trials, as stored by memories for vector observations. Memory and work per step are constant.

Each quantity of a step is one row of a tensor [B, _, M]. The step dimension comes last because every read runs over
steps, so reads run along contiguous memory.

Shapes: B trials, T steps of whole trials, M steps held, D observation width, Q key width, K slots (a choice of a
discrete dimension, or a continuous dimension).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from optree.dataclasses import register_node
from torch import Tensor

from agent.learners.distributions import as_previous, num_slots, taken_slots
from agent.learners.rl2.in_trial_memory.keys import Keys
from agent.learners.rl2.trees import STATIC
from envs.spaces import ActionSpec

RETURN_DISCOUNT = 0.99
"""γ of the stored returns to go."""


class HeldSteps:
    """A ring buffer of steps. Returns to go become final when their episode ends.

    Args:
        num_trials: B.
        action: the action space.
        keys: the mapping from observations to keys.
        num_steps: M.
        discount: discount of returns to go.
        device: device of the tensors.
    """

    NUM_VALUES = 4
    """Values of a step: whether it is held; reward; whether its episode is finished; and if so its return to go."""

    def __init__(
        self,
        num_trials: int,
        action: ActionSpec,
        *,
        keys: Keys,
        num_steps: int,
        discount: float,
        device: torch.device | str,
    ) -> None:
        self.action, self.num_slots = action, num_slots(action)
        self._key_of, self._discount = keys.of, discount
        self._num_steps, self._position, self._filled = num_steps, 0, 0
        self._keys = torch.zeros(num_trials, keys.size + 1, num_steps, device=device)
        self._values = torch.zeros(num_trials, self.NUM_VALUES, num_steps, device=device)
        self._actions = torch.zeros(num_trials, self.num_slots, num_steps, device=device)
        self._returns = torch.zeros(num_trials, num_steps, device=device)
        self._live = torch.zeros(num_trials, num_steps, device=device)
        """γ^age for the steps of the current episode, 0 for finished ones."""

    @property
    def is_empty(self) -> bool:
        """Return whether no step has been written yet."""
        return self._filled == 0

    @property
    def keys_and_squares(self) -> Float[Tensor, "B Q1 M"]:
        """Keys of the steps written so far, followed by the square of each key's norm as the last row (Q1 = Q + 1)."""
        return self._keys[:, :, : self._filled]

    @property
    def values(self) -> Float[Tensor, "B V M"]:
        """The values listed at ``NUM_VALUES``, of the steps written so far."""
        return self._values[:, :, : self._filled]

    @property
    def actions(self) -> Float[Tensor, "B K M"]:
        """The slots taken (0 or 1), or the values of continuous dimensions in [-1, 1]."""
        return self._actions[:, :, : self._filled]

    @property
    def returns(self) -> Float[Tensor, "B M"]:
        """Returns to go; for unfinished episodes, the discounted rewards so far."""
        return self._returns[:, : self._filled]

    def return_rate(self) -> Float[Tensor, " B"]:
        """Return one over the standard deviation of the finished episodes' returns to go (:func:`rate_of`).

        The squares are taken of centred returns. A difference of mean squares would be lost in rounding if returns are
        large and almost equal.
        """
        finished, returns = self.values[:, 2:].unbind(1)
        count = finished.sum(-1).clamp_(min=1.0)
        mean = returns.sum(-1) / count
        centred = torch.addcmul(returns, finished, mean.unsqueeze(-1), value=-1.0)
        return rate_of(centred.square().sum(-1) / count)

    def key(self, observation: Float[Tensor, "B D"]) -> Float[Tensor, "B Q"]:
        """Return the key by which an observation is read."""
        return self._key_of(observation)

    def keep(self, rows: Shaped[Tensor, " R"]) -> None:
        """Keep the steps of these trials only, in this order."""
        self._keys, self._values, self._actions, self._returns, self._live = (
            held.index_select(0, rows) for held in (self._keys, self._values, self._actions, self._returns, self._live)
        )

    def forget(self, rows: Shaped[Tensor, " R"]) -> None:
        """Drop the steps of these trials. What is not held contributes nothing to a read, whatever its key."""
        for held in (self._values, self._actions, self._returns, self._live):
            held[rows] = 0.0

    def begin_again(self) -> None:
        """Begin another trial in each of the tasks. Returns to go of unfinished episodes stay unknown.

        Trials end at different steps, which leaves places without a step. They become the oldest, so that new steps
        replace them before they replace a step of an earlier trial.
        """
        if self.is_empty:
            return
        self._live.zero_()
        newest_last = torch.arange(self._filled, device=self._live.device).roll(-(self._position % self._filled))
        is_held = self._values[:, 0, newest_last]
        order = newest_last[is_held.argsort(dim=1, stable=True)]

        def ordered(values: Tensor) -> Tensor:
            index = order if values.ndim == 2 else order.unsqueeze(1).expand(-1, values.shape[1], -1)
            result = torch.zeros_like(values)
            result[..., : self._filled] = values.gather(-1, index)
            return result

        self._keys, self._values, self._actions, self._returns, self._live = (
            ordered(held) for held in (self._keys, self._values, self._actions, self._returns, self._live)
        )
        self._position = self._filled % self._num_steps

    def write(
        self,
        *,
        observation: Float[Tensor, "B D"],
        action: Shaped[Tensor, "B ..."],
        reward: Float[Tensor, " B"],
        active: Bool[Tensor, " B"],
    ) -> None:
        """Store a step in place of the oldest."""
        here, weight = self._position, active.to(reward.dtype)
        key = self.key(observation)
        self._keys[:, :-1, here] = key
        self._keys[:, -1, here] = key.square().sum(-1)
        self._actions[:, :, here] = held_actions(self.action, action)
        self._values[:, :, here] = 0.0
        self._values[:, 0, here] = weight
        self._values[:, 1, here] = reward * weight
        self._position = (here + 1) % self._num_steps
        self._filled = min(self._filled + 1, self._num_steps)
        self._returns[:, here] = 0.0
        live = self._live[:, : self._filled].mul_(self._discount)
        live[:, here] = weight
        self.returns.addcmul_(live, reward.unsqueeze(-1))

    def settle(self, ended: Bool[Tensor, " B"]) -> None:
        """Fix the returns to go of the episodes that ended with the last step."""
        if ended.device.type != "cpu":
            # On an accelerator, finding out which episodes ended costs more than updating every row.
            self._settle(slice(None), ended)
        elif ended.any():
            rows = ended.nonzero().squeeze(1)
            self._settle(rows, ended[rows])

    def _settle(self, rows: Tensor | slice, ended: Bool[Tensor, " R"]) -> None:
        """Fix the returns to go of the given trials whose episode ended."""
        live, returns = self._live[rows, : self._filled], self._returns[rows, : self._filled]
        settled = ended.unsqueeze(-1) & (live > 0)
        self._live[rows, : self._filled] = live.masked_fill(settled, 0.0)
        finished = torch.stack([torch.ones_like(returns), returns], dim=1)
        values = self._values[rows, 2:, : self._filled]
        self._values[rows, 2:, : self._filled] = torch.where(settled.unsqueeze(1), finished, values)


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class HeldTrials:
    """The steps of whole trials, as a memory would hold them, without keys. Padding is never held.

    Attributes:
        action: the action space.
        observation: [T, B, D] in the policy's units.
        actions: [T, B, K] as :attr:`HeldSteps.actions`.
        reward: [T, B] in units of the pair's reward scale.
        return_to_go: [T, B] to the end of the step's episode.
        end: [T, B] index of the last step of the step's episode; T if the episode did not end.
        return_rate: [T, B] one over the standard deviation of the returns to go held when step t is taken
            (:func:`rate_of`).
    """

    action: ActionSpec = field(metadata=STATIC)
    observation: Tensor
    actions: Tensor
    reward: Tensor
    return_to_go: Tensor
    end: Tensor
    return_rate: Tensor


def held_trials(
    action: ActionSpec,
    *,
    observation: Float[Tensor, "T B D"],
    chosen: Shaped[Tensor, "T B ..."],
    reward: Float[Tensor, "T B"],
    ended: Bool[Tensor, "T B"],
    num_steps: int,
    discount: float = RETURN_DISCOUNT,
) -> HeldTrials:
    """Return the data of whole trials that a memory would hold.

    Args:
        action: the action space.
        observation: observations in the policy's units.
        chosen: the actions taken.
        reward: rewards in units of the pair's reward scale; 0 in padding.
        ended: whether the step was its episode's last.
        num_steps: M.
        discount: discount of returns to go.
    """
    return_to_go = reward.clone()
    for step in range(len(reward) - 2, -1, -1):
        return_to_go[step].addcmul_(return_to_go[step + 1], (~ended[step]).to(reward.dtype), value=discount)
    steps = torch.arange(len(reward), device=reward.device).unsqueeze(-1)
    end = torch.where(ended, steps, len(reward)).flip(0).cummin(0).values.flip(0)
    return HeldTrials(
        action=action,
        observation=observation,
        actions=held_actions(action, chosen),
        reward=reward,
        return_to_go=return_to_go,
        end=end.to(reward.dtype),
        return_rate=_held_rate(return_to_go, end, num_steps),
    )


def held_parts(held: HeldTrials) -> tuple[HeldTrials, HeldTrials]:
    """Return the data of trials of mixed actions with the choices alone, and with the numbers alone."""
    action = held.action
    chosen, numbers = torch.split(held.actions, [action.num_choices, action.num_numbers], dim=-1)
    return (
        replace(held, action=action.choices_part, actions=chosen),
        replace(held, action=action.numbers_part, actions=numbers),
    )


def _held_rate(return_to_go: Float[Tensor, "T B"], end: Int64[Tensor, "T B"], num_steps: int) -> Float[Tensor, "T B"]:
    """Return the rate of the returns to go held at each step; step i counts from its episode's end until step i + M."""
    last = len(end)
    until = torch.arange(1, last + 1, device=end.device).unsqueeze(-1) + num_steps
    since = torch.minimum(end + 1, until).clamp(max=last)
    powers = torch.stack([torch.ones_like(return_to_go), return_to_go, return_to_go.double().square()]).double()
    changes = powers.new_zeros(3, last + 1, end.shape[1])
    changes.scatter_add_(1, since.expand_as(powers), powers)
    changes.scatter_add_(1, until.clamp(max=last).expand_as(powers), -powers)
    count, total, squares = changes.cumsum(1)[:, :last].unbind()
    count = count.clamp(min=1.0)
    return rate_of((squares / count - (total / count).square()).to(return_to_go.dtype))


def rate_of(variance: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Return one over the standard deviation of returns to go, at most 100."""
    return variance.clamp(min=1e-4).rsqrt_()


def held_actions(action: ActionSpec, chosen: Shaped[Tensor, "..."]) -> Float[Tensor, "... K"]:
    """Return the slots taken (0 or 1), or the values of continuous dimensions in [-1, 1]."""
    return taken_slots(action, as_previous(action, chosen))
