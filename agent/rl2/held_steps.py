"""The last M steps of B trials, as memories for vector observations hold them: constant memory and constant work.

What is held of a step lies in one row each of [B, _, M] tensors, steps last: every read runs over steps, and so along
memory.

Shapes: B trials, M steps held, D observation width, Q key width, K slots (a choice of a discrete dimension, or a
continuous dimension).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from agent.rl2.distributions import num_slots, slots_of
from envs.spaces import ActionKind, ActionSpec


class HeldSteps:
    """A ring of steps, whose returns to go are settled when their episode ends.

    Args:
        num_trials: B.
        action: the action space.
        projection: [D, Q] from observations to keys.
        num_steps: M.
        discount: of returns to go.
        device: where the tensors live.
    """

    NUM_VALUES = 5
    """Of a step: whether it is held, reward; whether its episode is finished, and if so return to go and its square."""

    def __init__(
        self,
        num_trials: int,
        action: ActionSpec,
        *,
        projection: Float[Tensor, "D Q"],
        num_steps: int,
        discount: float,
        device: torch.device | str,
    ) -> None:
        self.action, self.num_slots = action, num_slots(action)
        self._projection, self._discount = projection, discount
        self._num_steps, self._position, self._filled = num_steps, 0, 0
        self._keys = torch.zeros(num_trials, projection.shape[1] + 1, num_steps, device=device)
        self._values = torch.zeros(num_trials, self.NUM_VALUES, num_steps, device=device)
        self._actions = torch.zeros(num_trials, self.num_slots, num_steps, device=device)
        self._returns = torch.zeros(num_trials, num_steps, device=device)
        self._live = torch.zeros(num_trials, num_steps, device=device)
        """γ^age for the steps of the episode under way, 0 for finished ones."""

    @property
    def is_empty(self) -> bool:
        """Whether no step was written yet."""
        return self._filled == 0

    @property
    def keys(self) -> Float[Tensor, "B Q M"]:
        """Keys of the steps written so far."""
        return self._keys[:, :-1, : self._filled]

    @property
    def keys_and_squares(self) -> Float[Tensor, "B Q1 M"]:
        """Keys of the steps written so far, and beneath them the square of each one's norm (Q1 = Q + 1)."""
        return self._keys[:, :, : self._filled]

    @property
    def values(self) -> Float[Tensor, "B V M"]:
        """What ``NUM_VALUES`` lists, of the steps written so far."""
        return self._values[:, :, : self._filled]

    @property
    def actions(self) -> Float[Tensor, "B K M"]:
        """The slots taken (0 or 1), or the values of continuous dimensions in [-1, 1]."""
        return self._actions[:, :, : self._filled]

    @property
    def returns(self) -> Float[Tensor, "B M"]:
        """Returns to go, of unfinished episodes so far."""
        return self._returns[:, : self._filled]

    def key(self, observation: Float[Tensor, "B D"]) -> Float[Tensor, "B Q"]:
        """The key that an observation is read by."""
        return observation @ self._projection

    def keep(self, rows: Shaped[Tensor, " R"]) -> None:
        """Hold the steps of these trials alone, in this order."""
        self._keys, self._values, self._actions, self._returns, self._live = (
            held.index_select(0, rows) for held in (self._keys, self._values, self._actions, self._returns, self._live)
        )

    def write(
        self,
        *,
        observation: Float[Tensor, "B D"],
        action: Shaped[Tensor, "B ..."],
        reward: Float[Tensor, " B"],
        terminated: Bool[Tensor, " B"],
        truncated: Bool[Tensor, " B"],
        active: Bool[Tensor, " B"],
    ) -> Bool[Tensor, " B"] | None:
        """Hold a step in place of the oldest, and settle the returns of episodes that ended.

        Returns:
            whose episode ended; None where it is known that none did.
        """
        here, weight = self._position, active.to(reward.dtype)
        key = self.key(observation)
        self._keys[:, :-1, here] = key
        self._keys[:, -1, here] = key.square().sum(-1)
        if self.action.kind is ActionKind.CONTINUOUS:
            self._actions[:, :, here] = action.clamp(-1.0, 1.0)
        else:
            self._actions[:, :, here] = 0.0
            self._actions[:, :, here].scatter_(1, slots_of(self.action, action), 1.0)
        self._values[:, :, here] = 0.0
        self._values[:, 0, here] = weight
        self._values[:, 1, here] = reward * weight
        self._position = (here + 1) % self._num_steps
        self._filled = min(self._filled + 1, self._num_steps)
        self._returns[:, here] = 0.0
        live = self._live[:, : self._filled].mul_(self._discount)
        live[:, here] = weight
        self.returns.addcmul_(live, reward.unsqueeze(-1))
        ended = (terminated | truncated) & active
        if ended.device.type != "cpu":
            # An accelerator is not asked which did: the answer costs more than the work.
            self._settle(slice(None), ended)
        elif ended.any():
            rows = ended.nonzero().squeeze(1)
            self._settle(rows, ended[rows])
        else:
            return None
        return ended

    def _settle(self, rows: Tensor | slice, ended: Bool[Tensor, " R"]) -> None:
        """Settle the returns to go of those of some trials whose episode ended."""
        live, returns = self._live[rows, : self._filled], self._returns[rows, : self._filled]
        settled = ended.unsqueeze(-1) & (live > 0)
        self._live[rows, : self._filled] = live.masked_fill(settled, 0.0)
        finished = torch.stack([torch.ones_like(returns), returns, returns.square()], dim=1)
        values = self._values[rows, 2:, : self._filled]
        self._values[rows, 2:, : self._filled] = torch.where(settled.unsqueeze(1), finished, values)
