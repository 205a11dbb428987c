"""An in-trial memory for discrete observations. Only equal observations match.

The memory holds sums by observation and action: O(1) a step. If the spaces allow planning, it also stores where each
action led, and plans over these transitions. Shapes: see :mod:`agent.learners.rl2.in_trial_memory.protocol`.
"""

from __future__ import annotations

from copy import copy

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from agent.learners.distributions import num_slots, slots_of
from agent.learners.rl2.in_trial_memory.transitions import no_transitions
from envs.spaces import ActionSpec

MIN_REACH = 1e-4
"""Lower bound of a reach that other reaches are divided by."""

MAX_RELATIVE = 20.0
"""Bound of features that are measured in units of a reach."""

TRANSITION_PRIOR = 1.0
"""c, the pseudo-count of a transition that was not observed: it counts as one. No measurement used another value."""

KNOWN_WAYS_DISCOUNT = 0.95
"""γ of the plan over known ways."""

MAX_BEHIND = 0.5
"""Bound of an action's advantage in the plan over known ways, in which an untried action may be 1/(1 - γ) behind.

With 2 the embedded FrozenLake ended at 5.9 instead of 6.3 after 120 CPU-seconds: known ways counted so much that the
search of unknown ones was learned no further.
"""


class TableMemory:
    """A memory that matches discrete observations exactly.

    Features of every slot, tried n times at this observation with rewards r: the mean of r (0 if never tried),
    log(1 + n) and 1 / (1 + n).

    A memory that does not plan adds five features:

    - Σr / (1 + n). The mean under any prior that weighs one step is a weighted sum of this and 1 / (1 + n).
    - b / 2, with b = √(log(1 + m / (1 + n)) / (1 + n)) and m the number of remaining visits of this observation at the
      trial's pace. b measures how much is left to explore. It is close to what the Gittins index of a finite horizon
      adds to the mean (Lattimore 2016, arXiv:1511.06014). Halving keeps it in the range of the other features.
    - the slot's reach: b times the standard deviation of r, computed with one additional step of the trial's average.
    - the difference of the slot's Σr / (1 + n) from the largest one, in units of the leader's reach.
    - the slot's reach, in units of the leader's reach.

    The leader is the slot with the largest Σr / (1 + n). The last two features are bounded and divided by four. They
    express the size of a gap relative to the remaining uncertainty: late in a long trial a gap of a hundredth is
    decisive, early in the trial a gap of a tenth is not.

    A memory that plans adds, for each discount γ, the advantage and the value (1 - γ) V of acting on the trial's
    transitions. Each step runs one sweep of value iteration over the mean model:

    R̂(s,a) = (Σr + r̄) / (n + 1),  Q(s,a) = R̂(s,a) + γ (Σ_s' n(s,a,s') V(s') + c v̄) / (n + c),  V(s) = max_a Q(s,a)

    with r̄ the trial's mean reward, v̄ the mean of V over the states that its steps led to, and c the prior
    pseudo-count. The sweeps of successive steps accumulate, so values propagate further with every step.

    In these plans a way that was gone once loses half of its value with every step, and an untried action is as good as
    the usual state. They do not lead back to a distant reward. So there is one more plan, over *known ways*, without
    any prior: R̂ and the transitions are means of what was observed, and an untried action counts as min(r̄, 0) for ever,
    min(r̄, 0) / (1 - γ). Its advantage is bounded.

    Args:
        num_trials: B.
        num_observations: S.
        action: the action space, discrete or multi-discrete.
        episodes_per_trial: E.
        discounts: γ of each plan with a prior; empty for a memory that does not plan.
        prior: c.
        device: device of the tensors.
    """

    def __init__(
        self,
        num_trials: int,
        num_observations: int,
        action: ActionSpec,
        *,
        episodes_per_trial: int = 1,
        discounts: tuple[float, ...] = (),
        prior: float = TRANSITION_PRIOR,
        device: torch.device | str = "cpu",
    ) -> None:
        self._action, self._episodes_per_trial = action, episodes_per_trial
        self._num_observations, self._num_slots = num_observations, num_slots(action)
        rows = num_trials * num_observations
        self._first_row = torch.arange(num_trials, device=device) * num_observations
        self._sums = torch.zeros(rows, self._num_slots, 3, device=device)
        """For each slot: number of steps, sum of rewards, sum of squared rewards."""
        self._trial_sums = torch.zeros(num_trials, 3, device=device)
        self._trial_sums[:, 0::2] = 1.0
        """The same sums over all steps of the trial, plus one initial step of reward 0 and squared reward 1.

        1 is the mean square of scaled rewards.
        """
        self._met = torch.zeros(rows, 1, device=device)
        self._num_episodes = torch.zeros(num_trials, 1, device=device)
        self._earlier_episodes: Tensor | None = None
        """[B, 1] the episodes of earlier trials (:meth:`begin_again`); None for none."""
        num_plans, self._prior = _num_plans(len(discounts)), prior
        # Filled on the device: the start of a trial copies nothing from the host, so that it can be captured in a CUDA
        # graph.
        self._discounts = torch.empty(num_plans, device=device)
        for index, discount in enumerate(discounts):
            self._discounts[index].fill_(discount)
        if discounts:
            self._discounts[-1].fill_(KNOWN_WAYS_DISCOUNT)
            self._priors = torch.full((num_plans,), prior, device=device)
            self._priors[-1].fill_(0.0)
            self._most_behind = torch.full((num_plans,), -torch.inf, device=device)
            self._most_behind[-1].fill_(-MAX_BEHIND)
            shape = (num_trials, num_observations)
            self._transitions = no_transitions(num_trials, num_observations, self._num_slots, device=device)
            self._arrivals = torch.zeros(*shape, device=device)
            self._values = torch.zeros(*shape, num_plans, device=device)
            self._action_values = torch.zeros(rows, self._num_slots, num_plans, device=device)
            self._num_moves = torch.zeros(num_trials, 1, 1, device=device)

    def read(self, observation: Float[Tensor, "B D"]) -> Float[Tensor, "B K F"]:
        """Return statistics of each slot, then exploration features or each plan's advantage and value."""
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
        return torch.cat([statistics, torch.maximum(values - best, self._most_behind), reached], dim=-1)

    @staticmethod
    def num_features(num_discounts: int) -> int:
        """Return F of a memory that plans at this many discounts."""
        return 3 + (2 * _num_plans(num_discounts) or 5)

    def _to_find_out(self, sums: Float[Tensor, "B K 3"], rows: Shaped[Tensor, " B"]) -> Float[Tensor, "B K 5"]:
        """Return the five features of a memory that does not plan (see the class docstring)."""
        num_tried, rewards, squares = sums.unbind(-1)
        usual = (self._trial_sums / self._trial_sums[:, :1]).unsqueeze(-1)
        share = (num_tried + 1.0).reciprocal_()
        variance = (squares + usual[:, 2]) * share - ((rewards + usual[:, 1]) * share).square_()
        pace = (self._met.index_select(0, rows) + 1.0) / (self._num_episodes + 1.0)
        num_left = pace * (self._episodes_per_trial - self._num_own_episodes()).clamp_(min=1.0)
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
        active: Bool[Tensor, " B"],
    ) -> None:
        """Count the step, add its reward, and run one planning sweep."""
        rows = self._first_row + observation[:, 0].long()
        slots = slots_of(self._action, action)
        weight = active.to(reward.dtype)
        terms = torch.stack([weight, weight * reward, weight * reward.square()], dim=-1)
        places = (rows.unsqueeze(-1) * self._num_slots + slots).flatten()
        self._sums.view(-1, 3).index_add_(0, places, terms.repeat_interleave(slots.shape[1], dim=0))
        self._trial_sums += terms
        self._met.index_add_(0, rows, terms[:, :1])
        if len(self._discounts):
            follows = (active & ~terminated).to(reward.dtype)
            next_state = next_observation[:, 0].long()
            self._transitions.add(places, next_state, follows)
            self._arrivals.view(-1).index_add_(0, self._first_row + next_state, follows)
            self._num_moves += follows.view(-1, 1, 1)
            self._plan()

    def end_episodes(self, ended: Bool[Tensor, " B"]) -> None:
        """Count the episodes that ended."""
        self._num_episodes += ended.unsqueeze(-1)

    def begin_again(self, episodes_per_trial: int) -> None:
        """Begin another trial in each of the tasks: all episodes so far are those of earlier trials."""
        self._episodes_per_trial = episodes_per_trial
        self._earlier_episodes = self._num_episodes.clone()

    def select(self, rows: Shaped[Tensor, " R"]) -> TableMemory:
        """Return a copy that holds these trials, in this order."""
        selected = copy(self)
        selected.keep(rows)
        return selected

    def forget(self, rows: Shaped[Tensor, " R"]) -> None:
        """Drop every step of these trials."""
        num_trials = len(self._first_row)
        emptied = [self._sums, self._met, self._num_episodes]
        if self._earlier_episodes is not None:
            emptied.append(self._earlier_episodes)
        if len(self._discounts):
            emptied += [self._arrivals, self._values, self._action_values, self._num_moves]
            self._transitions.forget(rows)
        for of_trials in emptied:
            of_trials.view(num_trials, -1)[rows] = 0.0
        self._trial_sums[rows] = self._trial_sums.new_tensor([1.0, 0.0, 1.0])

    def keep(self, rows: Shaped[Tensor, " R"]) -> None:
        """Keep only these trials, in this order."""
        num_trials = len(self._first_row)

        def kept(of_trials: Tensor) -> Tensor:
            by_trial = of_trials.view(num_trials, -1, *of_trials.shape[1:])
            return by_trial.index_select(0, rows).flatten(0, 1)

        self._first_row = torch.arange(len(rows), device=rows.device) * self._num_observations
        self._sums, self._met = kept(self._sums), kept(self._met)
        self._trial_sums, self._num_episodes = kept(self._trial_sums), kept(self._num_episodes)
        if self._earlier_episodes is not None:
            self._earlier_episodes = kept(self._earlier_episodes)
        if len(self._discounts):
            self._transitions, self._arrivals = self._transitions.kept(rows), kept(self._arrivals)
            self._values, self._action_values = kept(self._values), kept(self._action_values)
            self._num_moves = kept(self._num_moves)

    def _num_own_episodes(self) -> Float[Tensor, "B 1"]:
        """Return the number of finished episodes of the present trials."""
        return self._num_episodes if self._earlier_episodes is None else self._num_episodes - self._earlier_episodes

    def _plan(self) -> None:
        """Run one sweep of value iteration over the mean model of every trial."""
        num_trials, num_observations = self._arrivals.shape
        shape = (num_trials, num_observations, self._num_slots)
        visits, rewards = (sums.view(shape) for sums in self._sums[..., :2].unbind(-1))
        mean_reward = rewards.sum((1, 2), keepdim=True) / visits.sum((1, 2), keepdim=True).clamp(min=1.0)
        values = self._values * self._discounts
        mean_value = torch.bmm(self._arrivals.unsqueeze(1), values) / self._num_moves.clamp(min=1.0)
        followed = self._transitions.followed(values, mean_value).view(*shape, -1)
        followed.add_(mean_value.unsqueeze(1) * self._priors)
        known = visits.clamp(min=1.0).reciprocal_()
        untried = (visits == 0.0) * (mean_reward.clamp(max=0.0) / (1.0 - KNOWN_WAYS_DISCOUNT))
        self._action_values = torch.addcmul(
            self._by_plan((rewards + mean_reward) / (visits + 1.0), torch.addcmul(untried, rewards, known)),
            self._by_plan((visits + self._prior).reciprocal_(), known),
            followed,
        )
        self._values = self._action_values.amax(2)
        self._action_values = self._action_values.view(-1, self._num_slots, len(self._discounts))

    def _by_plan(self, with_prior: Float[Tensor, "B S K"], known: Float[Tensor, "B S K"]) -> Float[Tensor, "B S K G"]:
        """Return what the plans with a prior have in common, and what the one over known ways has, by plan."""
        with_prior = with_prior.unsqueeze(-1).expand(*with_prior.shape, len(self._discounts) - 1)
        return torch.cat([with_prior, known.unsqueeze(-1)], dim=-1)


def _num_plans(num_discounts: int) -> int:
    """Return G, the number of plans: one for each discount, and the one over known ways."""
    return num_discounts + 1 if num_discounts else 0


def _beside_leader(mean: Float[Tensor, "B K"], reach: Float[Tensor, "B K"]) -> Float[Tensor, "B K 2"]:
    """Return each slot's distance from the largest mean and its reach, both in units of the leader's reach.

    The results are bounded by ``MAX_RELATIVE`` and divided by four.
    """
    best, leader = mean.max(1, keepdim=True)
    unit = reach.gather(1, leader).clamp_(min=MIN_REACH)
    behind, beside = (mean - best) / unit, reach / unit
    return torch.stack([behind, beside], dim=-1).clamp_(-MAX_RELATIVE, MAX_RELATIVE).mul_(0.25)
