"""Classical policies for random tabular MDPs, with B parallel tasks (Duan et al. 2016, section 3.2 and appendix).

Every policy knows the prior (rewards of mean N(1, 1) with unit noise, flat Dirichlet transitions) and the horizon H. It
plans once per episode by finite-horizon value iteration on its model,

Q_h(s, a) = R(s, a) + Σ_s' P(s' | s, a) V_{h+1}(s'),   V_h(s) = max_a Q_h(s, a),   V_{H+1} = 0,

and acts greedily on Q_h.

Shapes: B tasks, S states, A actions, H steps of an episode.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from envs.family import Split
from envs.tensor.tabular_mdps import TabularMdps


@dataclass(frozen=True)
class MdpState:
    """The observations of B MDPs so far.

    Attributes:
        visits: [B, S, A].
        rewards: [B, S, A] sums.
        moves: [B, S, A, S] counts, including an episode's last step, whose next state does not matter.
        episode: number of finished episodes.
        horizon: H.
        generator: source of random numbers for policies that draw.
    """

    visits: Tensor
    rewards: Tensor
    moves: Tensor
    episode: int
    horizon: int
    generator: torch.Generator

    @property
    def mean_reward(self) -> Tensor:
        """The [B, S, A] posterior means of rewards."""
        return (self.rewards + 1.0) / (self.visits + 1.0)

    @property
    def mean_transition(self) -> Tensor:
        """The [B, S, A, S] posterior means of transition probabilities."""
        counts = self.moves + 1.0
        return counts / counts.sum(-1, keepdim=True)

    def draw(self) -> tuple[Tensor, Tensor]:
        """Draw one model from the posterior: rewards [B, S, A] and transitions [B, S, A, S]."""
        noise = torch.randn(self.visits.shape, generator=self.generator)
        weights = torch._standard_gamma(self.moves + 1.0, generator=self.generator)  # noqa: SLF001
        return self.mean_reward + noise / (self.visits + 1.0).sqrt(), weights / weights.sum(-1, keepdim=True)


MdpPolicy = Callable[[MdpState], Tensor]
"""A function that plans an episode: it returns the value of each action, [H, B, S, A]."""


def play(
    tasks: TabularMdps, policy: MdpPolicy, *, first_task: int, split: Split, seed: int, epsilon: float = 0.0
) -> Tensor:
    """Return [B], the total reward of n episodes; with probability ``epsilon`` an action is random."""
    observation = tasks.begin(first_task, split=split)
    shape = (tasks.num_trials, tasks.num_states, tasks.num_actions)
    visits, rewards, moves = torch.zeros(shape), torch.zeros(shape), torch.zeros(*shape, tasks.num_states)
    generator = torch.Generator().manual_seed(seed)
    rows, active = torch.arange(tasks.num_trials), torch.ones(tasks.num_trials, dtype=torch.bool)
    total = torch.zeros(tasks.num_trials)
    for episode in range(tasks.spec.episodes_per_trial):
        plan = policy(MdpState(visits, rewards, moves, episode, tasks.horizon, generator)).argmax(-1)
        for step in range(tasks.horizon):
            state = observation[:, 0].long()
            action = plan[step, rows, state]
            if epsilon > 0.0:
                is_random = torch.rand(len(rows), generator=generator) < epsilon
                any_action = torch.randint(tasks.num_actions, action.shape, generator=generator)
                action = torch.where(is_random, any_action, action)
            transition = tasks.step(action, active)
            total += transition.reward
            visits[rows, state, action] += 1.0
            rewards[rows, state, action] += transition.reward
            moves[rows, state, action, transition.final_observation[:, 0].long()] += 1.0
            observation = transition.observation
    return total


def action_values(reward: Tensor, transition: Tensor, horizon: int) -> Tensor:
    """Return [H, B, S, A], the values of finite-horizon value iteration on a model."""
    values, value = [], torch.zeros(reward.shape[:2])
    for _ in range(horizon):
        values.append(reward + torch.bmm(transition.flatten(1, 2), value.unsqueeze(-1)).view(reward.shape))
        value = values[-1].amax(-1)
    return torch.stack(values[::-1])


def random(state: MdpState) -> Tensor:
    """Return random values, so that the action is random at each step and state."""
    return torch.rand(state.horizon, *state.visits.shape, generator=state.generator)


def greedy(state: MdpState) -> Tensor:
    """Plan on the posterior mean."""
    return action_values(state.mean_reward, state.mean_transition, state.horizon)


def psrl(state: MdpState) -> Tensor:
    """Plan on one draw from the posterior (Strens 2000; Osband et al. 2013)."""
    return action_values(*state.draw(), state.horizon)


def opsrl(num_draws: int) -> MdpPolicy:
    """Return a policy that takes the maximum over several draws' action values (Osband & Van Roy 2017)."""

    def plan(state: MdpState) -> Tensor:
        best = psrl(state)
        for _ in range(num_draws - 1):
            best = torch.maximum(best, psrl(state))
        return best

    return plan


def beb(bonus: float) -> MdpPolicy:
    """Return a policy that plans on the posterior mean with β / (1 + n) added to rewards (Kolter & Ng 2009)."""

    def plan(state: MdpState) -> Tensor:
        reward = state.mean_reward + bonus / (1.0 + state.visits)
        return action_values(reward, state.mean_transition, state.horizon)

    return plan


def ucrl2(scale: float) -> MdpPolicy:
    """Return UCRL2: it plans on the best model within scaled confidence bounds.

    The bounds are those of Jaksch, Ortner & Auer 2010, figures 1 and 2.
    """

    def plan(state: MdpState) -> Tensor:
        num_states, num_actions = state.visits.shape[1:]
        steps = state.episode * state.horizon + 1.0
        log_term = math.log(2.0 * num_states * num_actions * steps / 0.05)
        visits = state.visits.clamp(min=1.0)
        reward = state.mean_reward + scale * (3.5 * log_term / visits).sqrt()
        width = scale * (14.0 * num_states * log_term / visits).sqrt()
        return _optimistic_values(reward, state.mean_transition, width, state.horizon)

    return plan


def _optimistic_values(reward: Tensor, transition: Tensor, width: Tensor, horizon: int) -> Tensor:
    """Run extended value iteration: probability moves from the worst next states to the best, within an L1 width."""
    values, value = [], torch.zeros(reward.shape[:2])
    for _ in range(horizon):
        ascending, order = value.sort(dim=-1)
        places = order[:, None, None, :].expand_as(transition)
        chances = transition.gather(-1, places)
        chances[..., -1] = (chances[..., -1] + width / 2.0).clamp(max=1.0)
        surplus = chances.sum(-1, keepdim=True) - 1.0
        before = chances.cumsum(-1) - chances
        taken = torch.minimum((surplus - before).clamp(min=0.0), chances)
        values.append(reward + ((chances - taken) * ascending[:, None, None, :]).sum(-1))
        value = values[-1].amax(-1)
    return torch.stack(values[::-1])


def known(tasks: TabularMdps) -> MdpPolicy:
    """Return a policy that plans on the task itself: a ceiling that no learning policy can reach."""

    def plan(state: MdpState) -> Tensor:
        return action_values(tasks.reward_means(), tasks.transitions(), state.horizon)

    return plan
