"""An in-trial memory for vectors that is read by prototypes (Snell et al. 2017, arXiv:1703.05175).

Every slot k has two classes of the trial's finished steps, and a prototype for each, the mean of its keys (eq. 1):

c_k^± = (1 / n_k^±) Σ_(i in S_k^±) key_i                                               (equation 1)
p_k = exp(-d²(q, c_k^+)) / (exp(-d²(q, c_k^+)) + exp(-d²(q, c_k^-)))                   (equation 2)

with q the key of the present observation. For a discrete slot, S_k^+ are the steps that took it and came to a return
to go above the trial's mean, S_k^- those that took it and did not: p_k answers whether taking k in places like this one
has turned out better than usual. For a continuous dimension both classes are of better steps, S_k^+ of those whose
action was above 0: p_k answers which way the better ones went.

Departures: keys are fixed; d² is in units of 2 Q h², the width of the kernel that
:class:`agent.rl2.similarity_memory.SimilarityMemory` weighs by. Shapes: as there, with 2 classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from agent.rl2.held_steps import RETURN_DISCOUNT, HeldSteps
from agent.rl2.keys import Keys
from agent.rl2.normalisation import symlog
from envs.spaces import ActionKind, ActionSpec


class PrototypeMemory:
    """The last M steps, of which a read sees two prototypes a slot; they move when an episode ends.

    Features of a slot: 2 p - 1 (0 until both classes have a step), exp(-d²) of the better class, log(1 + n^+),
    log(1 + n^-), and the mean return to go of the trial's finished steps, squashed.

    Args:
        num_trials: B.
        action: the action space.
        keys: of observations.
        num_steps: M.
        bandwidth: h, in the observations' units.
        discount: of returns to go.
        device: where the tensors live.
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
        """What the slots' prototypes say of this observation."""
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
        """Hold the step."""
        self._steps.write(observation=observation, action=action, reward=reward, active=active)

    def end_episodes(self, ended: Bool[Tensor, " B"]) -> None:
        """Settle their returns to go, and move the prototypes."""
        if self._steps.settle(ended):
            self._move(ended)

    def keep(self, rows: Shaped[Tensor, " R"]) -> None:
        """Remember these trials alone, in this order."""
        self._steps.keep(rows)
        self._counts, self._prototypes, self._usual = (
            held.index_select(0, rows) for held in (self._counts, self._prototypes, self._usual)
        )

    def _move(self, ended: Bool[Tensor, " B"]) -> None:
        """Prototypes of the steps held now, for the trials whose episode ended."""
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
