"""An in-trial memory for vectors that is read by prototypes (Snell et al. 2017, arXiv:1703.05175).

The trial's finished steps form two classes for every slot k. Each class has a prototype, the mean of its keys:

c_k^± = (1 / n_k^±) Σ_(i in S_k^±) key_i                                               (equation 1)
p_k = exp(-d²(q, c_k^+)) / (exp(-d²(q, c_k^+)) + exp(-d²(q, c_k^-)))                   (equation 2)

with q the key of the current observation. A step is "better" if its return to go is above the trial's mean.

- Discrete slot: S_k^+ are the better steps that took the slot, S_k^- the other steps that took it. p_k estimates
  whether taking k at observations like this one leads to a return above the mean.
- Continuous dimension: both classes contain better steps only. S_k^+ are those whose action was above 0. p_k estimates
  the sign of a good action.

Departures: keys are fixed. d² is in units of 2 Q h², the width of the kernel of
:class:`agent.learners.rl2.in_trial_memory.similarity.SimilarityMemory`.

Shapes: those of :mod:`agent.learners.rl2.in_trial_memory.similarity`, and 2 classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from agent.learners.rl2.in_trial_memory.keys import Keys
from agent.learners.rl2.in_trial_memory.ring import RETURN_DISCOUNT, HeldSteps
from agent.learners.rl2.normalisation import symlog
from envs.spaces import ActionKind, ActionSpec


class PrototypeMemory:
    """A memory of the last M steps, read by two prototypes per slot. Prototypes are updated when an episode ends.

    Features of a slot:

    - 2 p - 1 (0 until both classes have a step)
    - exp(-d²) of the better class
    - log(1 + n^+)
    - log(1 + n^-)
    - symlog of the mean return to go of the trial's finished steps

    Args:
        num_trials: B.
        action: the action space.
        keys: the mapping from observations to keys.
        num_steps: M.
        bandwidth: h, in the observations' units.
        discount: discount of returns to go.
        device: device of the tensors.
    """

    NUM_FEATURES = 5

    def __init__(
        self,
        num_trials: int,
        action: ActionSpec,
        *,
        keys: Keys,
        num_steps: int,
        bandwidth: float,
        discount: float = RETURN_DISCOUNT,
        device: torch.device | str = "cpu",
    ) -> None:
        self._steps = HeldSteps(num_trials, action, keys=keys, num_steps=num_steps, discount=discount, device=device)
        self._inverse_width = 1.0 / (2.0 * keys.size * bandwidth**2)
        self._counts = torch.zeros(num_trials, 2, self._steps.num_slots, device=device)
        self._prototypes = torch.zeros(num_trials, 2, self._steps.num_slots, keys.size, device=device)
        self._usual = torch.zeros(num_trials, device=device)

    def read(self, observation: Float[Tensor, "B D"]) -> Float[Tensor, "B K F"]:
        """Return the slots' features at this observation, computed from their prototypes."""
        key = self._steps.key(observation)[:, None, None, :]
        distance = (self._prototypes - key).square().sum(-1).mul_(self._inverse_width)
        is_known = (self._counts > 0).to(distance.dtype)
        better, worse = distance.unbind(1)
        # exp(-a) / (exp(-a) + exp(-b)) = (1 + tanh((b - a) / 2)) / 2
        chance = ((worse - better) * 0.5).tanh() * is_known.prod(1)
        nearness = (-better).exp() * is_known[:, 0]
        usual = symlog(self._usual).unsqueeze(-1).expand_as(chance)
        counts = self._counts.log1p()
        return torch.stack([chance, nearness, counts[:, 0], counts[:, 1], usual], dim=-1)

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
        """Store the step."""
        self._steps.write(observation=observation, action=action, reward=reward, active=active)

    def end_episodes(self, ended: Bool[Tensor, " B"]) -> None:
        """Fix the returns to go of the episodes that ended, and update the prototypes."""
        if self._steps.settle(ended):
            self._move(ended)

    def keep(self, rows: Shaped[Tensor, " R"]) -> None:
        """Keep only these trials, in this order."""
        self._steps.keep(rows)
        self._counts, self._prototypes, self._usual = (
            held.index_select(0, rows) for held in (self._counts, self._prototypes, self._usual)
        )

    def _move(self, ended: Bool[Tensor, " B"]) -> None:
        """Recompute the prototypes from the held steps, for the trials whose episode ended."""
        finished, returns = self._steps.values[:, 2], self._steps.returns
        usual = (finished * returns).sum(1) / finished.sum(1).clamp(min=1.0)
        is_better = (returns > usual.unsqueeze(-1)).to(returns.dtype)
        actions = self._steps.actions
        if self._steps.action.kind is ActionKind.CONTINUOUS:
            is_up = (actions > 0).to(actions.dtype)
            counted = (finished * is_better).unsqueeze(1)
            members = torch.stack([counted * is_up, counted * (1.0 - is_up)], dim=1)
        else:
            classes = torch.stack([finished * is_better, finished * (1.0 - is_better)], dim=1)
            members = classes.unsqueeze(2) * actions.unsqueeze(1)
        counts = members.sum(-1)
        sums = torch.einsum("bckm,bqm->bckq", members, self._steps.keys)
        prototypes = sums / counts.clamp(min=1.0).unsqueeze(-1)
        self._usual = torch.where(ended, usual, self._usual)
        self._counts = torch.where(ended.view(-1, 1, 1), counts, self._counts)
        self._prototypes = torch.where(ended.view(-1, 1, 1, 1), prototypes, self._prototypes)
