"""The last M steps of B trials, as memories for vector observations hold them: constant memory and constant work.

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
        self._keys = torch.zeros(num_trials, num_steps, projection.shape[1], device=device)
        self._values = torch.zeros(num_trials, num_steps, self.NUM_VALUES, device=device)
        self._actions = torch.zeros(num_trials, num_steps, self.num_slots, device=device)
        self._returns = torch.zeros(num_trials, num_steps, device=device)
        self._live = torch.zeros(num_trials, num_steps, device=device)
        """γ^age for the steps of the episode under way, 0 for finished ones."""

    @property
    def is_empty(self) -> bool:
        """Whether no step was written yet."""
        return self._filled == 0

    @property
    def keys(self) -> Float[Tensor, "B M Q"]:
        """Keys of the steps written so far."""
        return self._keys[:, : self._filled]

    @property
    def values(self) -> Float[Tensor, "B M V"]:
        """What ``NUM_VALUES`` lists, of the steps written so far."""
        return self._values[:, : self._filled]

    @property
    def actions(self) -> Float[Tensor, "B M K"]:
        """The slots taken (0 or 1), or the values of continuous dimensions in [-1, 1]."""
        return self._actions[:, : self._filled]

    @property
    def returns(self) -> Float[Tensor, "B M"]:
        """Returns to go, of unfinished episodes so far."""
        return self._returns[:, : self._filled]

    def key(self, observation: Float[Tensor, "B D"]) -> Float[Tensor, "B Q"]:
        """The key that an observation is read by."""
        return observation @ self._projection

    def write(
        self,
        *,
        observation: Float[Tensor, "B D"],
        action: Shaped[Tensor, "B ..."],
        reward: Float[Tensor, " B"],
        terminated: Bool[Tensor, " B"],
        truncated: Bool[Tensor, " B"],
        active: Bool[Tensor, " B"],
    ) -> None:
        """Hold a step in place of the oldest, and settle the returns of episodes that ended."""
        here, weight = self._position, active.to(reward.dtype)
        self._keys[:, here] = self.key(observation)
        if self.action.kind is ActionKind.CONTINUOUS:
            self._actions[:, here] = action.clamp(-1.0, 1.0)
        else:
            self._actions[:, here] = 0.0
            self._actions[:, here].scatter_(1, slots_of(self.action, action), 1.0)
        self._values[:, here] = 0.0
        self._values[:, here, 0] = weight
        self._values[:, here, 1] = reward * weight
        self._returns[:, here] = 0.0
        self._live.mul_(self._discount)
        self._live[:, here] = weight
        self._returns.addcmul_(self._live, reward.unsqueeze(-1))
        self._position = (here + 1) % self._num_steps
        self._filled = min(self._filled + 1, self._num_steps)
        ended = (terminated | truncated) & active
        # An accelerator is not asked whether any did: the answer costs more than the work.
        if ended.device.type != "cpu" or ended.any():
            self._settle(ended)

    def _settle(self, ended: Bool[Tensor, " B"]) -> None:
        settled = ended.unsqueeze(-1) & (self._live > 0)
        self._live.masked_fill_(settled, 0.0)
        finished = torch.stack([torch.ones_like(self._returns), self._returns, self._returns.square()], dim=-1)
        self._values[..., 2:] = torch.where(settled.unsqueeze(-1), finished, self._values[..., 2:])
