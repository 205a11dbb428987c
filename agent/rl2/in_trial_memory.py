"""The in-trial memory: what a trial has met so far, read at an observation, slot by slot.

A policy that must squeeze all it has seen through a recurrent state stalls long before it runs out of steps. So it is
given, beside its hidden state, a read of its own trial: what each action led to at observations like the present one.
It is attention over the trial's steps as in Matching Networks (Vinyals et al. 2016, arXiv:1606.04080) with the values
of neural episodic control (Pritzel et al. 2017, arXiv:1703.01988): keys are observations, values hold action, reward,
what followed and the return to go. Keys are fixed, so a read is an input like any other: computed once in the rollout
and kept with the trial.

Three memories behind one protocol:

- :class:`TableMemory`, for discrete observations: equal observations match and no others do, so sums by observation
  and action are all there is to hold. O(1) a step. It also holds where each action led, and plans over that.
- :class:`SimilarityMemory`, for vectors: the last M steps, weighed by a Gaussian kernel of the distance between
  observations, or by matching attention. O(M) a step, whatever the length of the trial.
- :class:`agent.rl2.prototype_memory.PrototypeMemory`, for vectors too: the last M steps, read by two prototypes a slot.

Shapes: B trials, S observations, D observation width, K slots (a choice of a discrete dimension, or a continuous
dimension), W action width, F features of a read, G discounts, M remembered steps, Q key width.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from agent.rl2.config import MemoryReader, RL2Config
from agent.rl2.distributions import num_slots, slots_of
from agent.rl2.held_steps import HeldSteps
from agent.rl2.normalisation import symlog
from agent.rl2.prototype_memory import PrototypeMemory
from envs.spaces import ActionKind, ActionSpec, ObservationKind, SpacePair

MIN_REACH = 1e-4
"""Least reach that another is measured by."""

MAX_RELATIVE = 20.0
"""Bound of what is measured in units of a reach."""


@runtime_checkable
class InTrialMemory(Protocol):
    """B trials' memories side by side, empty when made."""

    def read(self, observation: Float[Tensor, "B D"]) -> Float[Tensor, "B K F"]:
        """What the trial has met at observations like these, slot by slot."""
        ...

    def write(
        self,
        *,
        observation: Float[Tensor, "B D"],
        action: Shaped[Tensor, "B ..."],
        reward: Float[Tensor, " B"],
        next_observation: Float[Tensor, "B D"],
        terminated: Bool[Tensor, " B"],
        truncated: Bool[Tensor, " B"],
        active: Bool[Tensor, " B"],
    ) -> None:
        """Add one step of every active trial.

        Args:
            observation: what was acted on, as the policy sees it (vectors normalised).
            action: what was done.
            reward: what it gave, in units of the pair's reward scale.
            next_observation: what followed in the same episode, the true final observation where it ended; as the
                environment gave it, for discrete ones alone are looked at.
            terminated: nothing follows.
            truncated: the episode was cut here.
            active: rows whose trial goes on.
        """
        ...

    def keep(self, rows: Shaped[Tensor, " R"]) -> None:
        """Remember these trials alone, in this order."""
        ...


def has_table(spaces: SpacePair, config: RL2Config) -> bool:
    """Whether the pair's observations are matched exactly."""
    is_discrete = (
        spaces.observation.kind is ObservationKind.DISCRETE and spaces.action.kind is not ActionKind.CONTINUOUS
    )
    return is_discrete and spaces.observation.size * num_slots(spaces.action) <= config.max_table_size


def look_aheads(spaces: SpacePair, config: RL2Config) -> tuple[float, ...]:
    """The discounts that the pair's memory plans at: none where there is nothing to plan."""
    size, action = spaces.observation.size, spaces.action
    is_plannable = size > 1 and action.kind is ActionKind.DISCRETE
    return config.look_ahead_discounts if is_plannable and size**2 * num_slots(action) <= config.max_table_size else ()


def read_size(spaces: SpacePair, config: RL2Config) -> int:
    """F, the number of features of a slot's read."""
    if not config.reads:
        return 0
    if has_table(spaces, config):
        return TableMemory.num_features(len(look_aheads(spaces, config)))
    is_by_prototypes = config.memory_reader is MemoryReader.PROTOTYPES
    return PrototypeMemory.NUM_FEATURES if is_by_prototypes else SimilarityMemory.NUM_FEATURES


def empty_memory(
    spaces: SpacePair,
    config: RL2Config,
    *,
    num_trials: int,
    episodes_per_trial: int,
    projection: Float[Tensor, "D Q"],
    device: torch.device,
) -> InTrialMemory | None:
    """The memory of ``num_trials`` trials about to begin; None where the policy reads none.

    Args:
        spaces: the pair of spaces.
        config: the settings.
        num_trials: B.
        episodes_per_trial: E.
        projection: from observations to a similarity memory's keys.
        device: where the tensors live.
    """
    if not config.reads:
        return None
    if has_table(spaces, config):
        return TableMemory(
            num_trials,
            spaces.observation.size,
            spaces.action,
            episodes_per_trial=episodes_per_trial,
            discounts=look_aheads(spaces, config),
            prior=config.transition_prior,
            device=device,
        )
    if config.memory_reader is MemoryReader.PROTOTYPES:
        return PrototypeMemory(
            num_trials,
            spaces.action,
            projection=projection,
            num_steps=config.memory_size,
            bandwidth=config.memory_bandwidth,
            device=device,
        )
    return SimilarityMemory(
        num_trials,
        spaces.action,
        projection=projection,
        num_steps=config.memory_size,
        bandwidth=config.memory_bandwidth,
        is_matching=config.memory_reader is MemoryReader.MATCHING,
        device=device,
    )


class TableMemory:
    """Exact match on discrete observations.

    Features of a slot tried n times here, with rewards r: the mean of r (0 if never tried), log(1 + n) and 1 / (1 + n).

    A memory that does not plan has besides:

    - Σr / (1 + n): with 1 / (1 + n), the mean under any prior of one step's weight is a weighted sum of the two;
    - how much there is left to find out, b = √(log(1 + m / (1 + n)) / (1 + n)), with m the visits of this observation
      that are still to come at the trial's pace: about what the Gittins index of a finite horizon adds to the mean
      (Lattimore 2016, arXiv:1511.06014). Once halved, which keeps it in the others' range, and once times the standard
      deviation of r with one more step like the trial's: the slot's reach.
    - how far its Σr / (1 + n) lies behind the largest, and its reach, both in units of the reach of the slot that has
      the largest, bounded and quartered. What matters is how large a gap is beside what is not known yet: late in a
      long trial a gap of a hundredth decides, early one of a tenth does not.

    One that plans has for each discount γ the advantage and the value (1 - γ) V of acting by what the trial has seen,
    found by one sweep of value iteration a step over the mean model:

    R̂(s,a) = (Σr + r̄) / (n + 1),  Q(s,a) = R̂(s,a) + γ (Σ_s' n(s,a,s') V(s') + c v̄) / (n + c),  V(s) = max_a Q(s,a)

    with r̄ the trial's mean reward, v̄ the mean of V over where its steps led, and c the prior pseudo-count. The sweeps
    of a trial's steps add up, so that values travel as far as its steps allow.

    Args:
        num_trials: B.
        num_observations: S.
        action: the action space, discrete or multi-discrete.
        episodes_per_trial: E.
        discounts: γ of each look-ahead; none for a memory that does not plan.
        prior: c.
        device: where the tensors live.
    """

    def __init__(
        self,
        num_trials: int,
        num_observations: int,
        action: ActionSpec,
        *,
        episodes_per_trial: int = 1,
        discounts: tuple[float, ...] = (),
        prior: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> None:
        self._action, self._episodes_per_trial = action, episodes_per_trial
        self._num_observations, self._num_slots = num_observations, num_slots(action)
        rows = num_trials * num_observations
        self._first_row = torch.arange(num_trials, device=device) * num_observations
        self._sums = torch.zeros(rows, self._num_slots, 3, device=device)
        """Of each slot's steps: how many, their rewards, the rewards' squares."""
        self._trial_sums = torch.zeros(num_trials, 3, device=device)
        self._trial_sums[:, 0::2] = 1.0
        """The same of all the trial's steps, begun with one of mean 0 and the square that rewards have on average."""
        self._met = torch.zeros(rows, 1, device=device)
        self._num_episodes = torch.zeros(num_trials, 1, device=device)
        self._prior = prior
        # Filled on the device: nothing of a trial's beginning is copied from the host, so that it can be captured.
        self._discounts = torch.empty(len(discounts), device=device)
        for index, discount in enumerate(discounts):
            self._discounts[index].fill_(discount)
        if discounts:
            shape = (num_trials, num_observations)
            self._moves = torch.zeros(num_trials, num_observations * self._num_slots, num_observations, device=device)
            self._arrivals = torch.zeros(*shape, device=device)
            self._values = torch.zeros(*shape, len(discounts), device=device)
            self._action_values = torch.zeros(rows, self._num_slots, len(discounts), device=device)
            self._num_moves = torch.zeros(num_trials, 1, 1, device=device)

    def read(self, observation: Float[Tensor, "B D"]) -> Float[Tensor, "B K F"]:
        """Statistics of what each action gave, and each look-ahead's advantage and value."""
        rows = self._first_row + observation[:, 0].long()
        sums = self._sums.index_select(0, rows)
        num_tried, rewards, _squares = sums.unbind(-1)
        share = (num_tried + 1.0).reciprocal_()
        statistics = torch.stack([rewards / num_tried.clamp(min=1.0), num_tried.log1p(), share], dim=-1)
        if not len(self._discounts):
            return torch.cat([statistics, self._to_find_out(sums, rows)], dim=-1)
        values = self._action_values.index_select(0, rows)
        best = values.amax(1, keepdim=True)
        reached = (best * (1.0 - self._discounts)).expand_as(values)
        return torch.cat([statistics, values - best, reached], dim=-1)

    @staticmethod
    def num_features(num_discounts: int) -> int:
        """F of a memory that looks ahead at so many discounts."""
        return 3 + (2 * num_discounts or 5)

    def _to_find_out(self, sums: Float[Tensor, "B K 3"], rows: Shaped[Tensor, " B"]) -> Float[Tensor, "B K 5"]:
        """Mean towards nothing, how much there is left to find out of each slot, and both beside the leading slot's."""
        num_tried, rewards, squares = sums.unbind(-1)
        usual = (self._trial_sums / self._trial_sums[:, :1]).unsqueeze(-1)
        share = (num_tried + 1.0).reciprocal_()
        variance = (squares + usual[:, 2]) * share - ((rewards + usual[:, 1]) * share).square_()
        pace = (self._met.index_select(0, rows) + 1.0) / (self._num_episodes + 1.0)
        num_left = pace * (self._episodes_per_trial - self._num_episodes).clamp_(min=1.0)
        width = ((num_left * share).log1p_() * share).sqrt_()
        mean, reach = rewards * share, width * variance.clamp_(min=0.0).sqrt_()
        choices = list(self._action.choices)
        dimensions = zip(torch.split(mean, choices, dim=1), torch.split(reach, choices, dim=1), strict=True)
        beside = torch.cat([_beside_leader(*dimension) for dimension in dimensions], dim=1)
        return torch.cat([torch.stack([mean, width * 0.5, reach], dim=-1), beside], dim=-1)

    def write(
        self,
        *,
        observation: Float[Tensor, "B D"],
        action: Shaped[Tensor, "B ..."],
        reward: Float[Tensor, " B"],
        next_observation: Float[Tensor, "B D"],
        terminated: Bool[Tensor, " B"],
        truncated: Bool[Tensor, " B"],
        active: Bool[Tensor, " B"],
    ) -> None:
        """Count the step, sum its reward, and plan anew."""
        rows = self._first_row + observation[:, 0].long()
        slots = slots_of(self._action, action)
        weight = active.to(reward.dtype)
        terms = torch.stack([weight, weight * reward, weight * reward.square()], dim=-1)
        places = (rows.unsqueeze(-1) * self._num_slots + slots).flatten()
        self._sums.view(-1, 3).index_add_(0, places, terms.repeat_interleave(slots.shape[1], dim=0))
        self._trial_sums += terms
        self._met.index_add_(0, rows, terms[:, :1])
        self._num_episodes += ((terminated | truncated) & active).unsqueeze(-1)
        if len(self._discounts):
            follows = (active & ~terminated).to(reward.dtype)
            next_state = next_observation[:, 0].long()
            self._moves.view(-1).index_add_(0, places * self._num_observations + next_state, follows)
            self._arrivals.view(-1).index_add_(0, self._first_row + next_state, follows)
            self._num_moves += follows.view(-1, 1, 1)
            self._plan()

    def keep(self, rows: Shaped[Tensor, " R"]) -> None:
        """Remember these trials alone, in this order."""
        num_trials = len(self._first_row)

        def kept(of_trials: Tensor) -> Tensor:
            by_trial = of_trials.view(num_trials, -1, *of_trials.shape[1:])
            return by_trial.index_select(0, rows).flatten(0, 1)

        self._first_row = self._first_row[: len(rows)]
        self._sums, self._met = kept(self._sums), kept(self._met)
        self._trial_sums, self._num_episodes = kept(self._trial_sums), kept(self._num_episodes)
        if len(self._discounts):
            self._moves, self._arrivals = kept(self._moves), kept(self._arrivals)
            self._values, self._action_values = kept(self._values), kept(self._action_values)
            self._num_moves = kept(self._num_moves)

    def _plan(self) -> None:
        """One sweep of value iteration over the mean model of every trial."""
        num_trials, num_observations = self._arrivals.shape
        shape = (num_trials, num_observations, self._num_slots)
        visits, rewards = (sums.view(shape) for sums in self._sums[..., :2].unbind(-1))
        mean_reward = rewards.sum((1, 2), keepdim=True) / visits.sum((1, 2), keepdim=True).clamp(min=1.0)
        mean_value = torch.bmm(self._arrivals.unsqueeze(1), self._values) / self._num_moves.clamp(min=1.0)
        followed = torch.bmm(self._moves, self._values).view(*shape, -1).add_(mean_value.unsqueeze(1) * self._prior)
        followed.mul_(self._discounts / (visits + self._prior).unsqueeze(-1))
        self._action_values = followed.add_(((rewards + mean_reward) / (visits + 1.0)).unsqueeze(-1))
        self._values = self._action_values.amax(2)
        self._action_values = self._action_values.view(-1, self._num_slots, len(self._discounts))


def _beside_leader(mean: Float[Tensor, "B K"], reach: Float[Tensor, "B K"]) -> Float[Tensor, "B K 2"]:
    """How far each slot's mean lies behind the largest, and its reach, in units of that slot's; bounded, quartered."""
    best, leader = mean.max(1, keepdim=True)
    unit = reach.gather(1, leader).clamp_(min=MIN_REACH)
    behind, beside = (mean - best) / unit, reach / unit
    return torch.stack([behind, beside], dim=-1).clamp_(-MAX_RELATIVE, MAX_RELATIVE).mul_(0.25)


class SimilarityMemory:
    """The last M steps, weighed by their likeness to the present observation.

    By a Gaussian kernel of the distance between keys, w_i = exp(-|k - k_i|² / (2 Q h²)) with h the bandwidth; or by
    matching attention (Vinyals et al. 2016, eq. 2), w_i = exp(c_i / h²) / Σ_j exp(c_j / h²) with c_i the cosine of k
    and k_i. For keys of norm √Q the two differ by the sum over steps alone; the paper has no temperature h², for its
    keys are learned and these are fixed.

    Only finished episodes' returns to go are read: of an unfinished one, no one knows them yet. They are read relative
    to what is usual here, in units of their spread over the trial.

    Features of a discrete slot: mean reward, log(1 + n), log(1 + n finished), advantage of the return to go, and the
    return to go usual here. Features of a continuous slot: mean action, how far actions lie from it when weighed by
    exp(advantage), log(1 + n), log(1 + n finished), and the return to go usual here. Sums n are sums of w: under
    matching attention, shares of it.

    Args:
        num_trials: B.
        action: the action space.
        projection: [D, Q] from observations to keys.
        num_steps: M.
        bandwidth: h, in the observations' units.
        is_matching: whether steps are weighed by matching attention.
        discount: of returns to go.
        device: where the tensors live.
    """

    NUM_FEATURES = 5

    def __init__(
        self,
        num_trials: int,
        action: ActionSpec,
        *,
        projection: Float[Tensor, "D Q"],
        num_steps: int,
        bandwidth: float,
        is_matching: bool = False,
        discount: float = 0.99,
        device: torch.device | str = "cpu",
    ) -> None:
        self._steps = HeldSteps(
            num_trials, action, projection=projection, num_steps=num_steps, discount=discount, device=device
        )
        self._num_slots = num_slots(action)
        self._is_matching, self._inverse_temperature = is_matching, 1.0 / bandwidth**2
        self._inverse_width = 1.0 / (2.0 * projection.shape[1] * bandwidth**2)

    def read(self, observation: Float[Tensor, "B D"]) -> Float[Tensor, "B K F"]:
        """Similarity-weighted statistics of the steps held."""
        if self._steps.is_empty:
            return observation.new_zeros(len(observation), self._num_slots, self.NUM_FEATURES)
        values = self._steps.values
        weights = self._weights(self._steps.key(observation))
        weighted = values[:, :4] * weights.unsqueeze(1)
        local = weighted.sum(-1)
        usual = local[:, 3] / local[:, 2].clamp(min=1e-3)
        spread = _spread(values[:, 2:].sum(-1))
        if self._steps.action.kind is ActionKind.CONTINUOUS:
            features = self._read_continuous(weighted[:, 2], local, usual=usual, spread=spread)
        else:
            sums = torch.bmm(weighted, self._steps.actions.transpose(1, 2))
            num_held, rewards, num_finished, returns = sums.unbind(1)
            advantages = (returns / num_finished.clamp(min=1e-3) - usual.unsqueeze(-1)) / spread.unsqueeze(-1)
            features = [
                rewards / num_held.clamp(min=1e-3),
                num_held.log1p(),
                num_finished.log1p(),
                advantages.clamp_(-5.0, 5.0) * (num_finished / (num_finished + 0.1)),
            ]
        return torch.stack([*features, symlog(usual).unsqueeze(-1).expand(-1, self._num_slots)], dim=-1)

    def _weights(self, key: Float[Tensor, "B Q"]) -> Float[Tensor, "B M"]:
        """w, by way of |k - k_i|² = |k|² - 2 k·k_i + |k_i|² or of the same products: no [B, Q, M] tensor is made."""
        square = key.square().sum(-1, keepdim=True)
        if not self._is_matching:
            scaled = torch.cat([key * -2.0, torch.ones_like(square)], dim=-1).mul_(-self._inverse_width)
            exponents = torch.bmm(scaled.unsqueeze(1), self._steps.keys_and_squares).squeeze(1)
            return exponents.sub_(square * self._inverse_width).exp_()
        products = torch.bmm(key.unsqueeze(1), self._steps.keys).squeeze(1)
        norms = (square * self._steps.keys_and_squares[:, -1]).sqrt_().clamp_(min=1e-12)
        is_held = self._steps.values[:, 0] > 0
        cosines = products.div_(norms).mul_(self._inverse_temperature)
        attention = cosines.masked_fill_(~is_held, -torch.inf).softmax(-1)
        return torch.where(is_held, attention, 0.0)

    def _read_continuous(
        self, finished: Float[Tensor, "B M"], local: Float[Tensor, "B V"], *, usual: Tensor, spread: Tensor
    ) -> list[Tensor]:
        advantages = ((self._steps.returns - usual.unsqueeze(-1)) / spread.unsqueeze(-1)).clamp_(-5.0, 5.0)
        weights = torch.stack([finished, finished * advantages.exp_()], dim=1)
        sums = torch.bmm(weights, self._steps.actions.transpose(1, 2))
        mean_action, better_action = (sums / weights.sum(-1, keepdim=True).clamp_(min=1e-3)).unbind(1)
        return [
            mean_action,
            better_action - mean_action,
            local[:, :1].log1p().expand(-1, self._num_slots),
            local[:, 2:3].log1p().expand(-1, self._num_slots),
        ]

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
        terminated: Bool[Tensor, " B"],
        truncated: Bool[Tensor, " B"],
        active: Bool[Tensor, " B"],
    ) -> None:
        """Hold the step in place of the oldest, and settle the returns of episodes that ended."""
        self._steps.write(
            observation=observation,
            action=action,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            active=active,
        )


def _spread(sums: Float[Tensor, "B 3"]) -> Float[Tensor, " B"]:
    """Standard deviation of returns to go, from their number, their sum and their squares' sum."""
    count = sums[:, 0].clamp(min=1.0)
    mean = sums[:, 1] / count
    return (sums[:, 2] / count - mean * mean).clamp_(min=1e-4).sqrt_()
