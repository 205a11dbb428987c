"""Classical bandit policies for B parallel tasks (Duan et al. 2016, section 3.1 and appendix).

Every policy knows the prior of the arms, uniform on [0, 1], and maintains the posterior Beta(1 + w, 1 + l).

Shapes: B tasks, K arms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.rl2_baselines.bayes_bandits import BayesOptimalBandit
from benchmarks.rl2_baselines.gittins import GittinsIndices
from envs.family import Split
from envs.task_batch import TaskBatch


@dataclass(frozen=True)
class BanditState:
    """The observations of B bandits so far.

    Attributes:
        wins: [B, K].
        losses: [B, K].
        num_pulls: pulls so far.
        pulls_left: remaining pulls, including the next one.
        generator: source of random numbers for policies that draw.
    """

    wins: NDArray[np.int64]
    losses: NDArray[np.int64]
    num_pulls: int
    pulls_left: int
    generator: np.random.Generator

    @property
    def mean(self) -> NDArray[np.float64]:
        """The [B, K] posterior means."""
        means: NDArray[np.float64] = (self.wins + 1) / (self.wins + self.losses + 2)
        return means


BanditPolicy = Callable[[BanditState], NDArray[np.int64]]
"""A function that chooses [B] arms."""


def play(tasks: TaskBatch, policy: BanditPolicy, *, first_task: int, split: Split, seed: int) -> NDArray[np.float64]:
    """Return the total reward of each of B tasks."""
    tasks.begin(first_task, split=split)
    num_pulls, num_arms = tasks.spec.episodes_per_trial, tasks.spaces.action.choices[0]
    generator = np.random.default_rng(seed)
    wins, losses = (np.zeros((tasks.num_trials, num_arms), np.int64) for _ in range(2))
    rows, active = np.arange(tasks.num_trials), torch.ones(tasks.num_trials, dtype=torch.bool)
    for pull in range(num_pulls):
        arms = policy(BanditState(wins, losses, pull, num_pulls - pull, generator))
        reward = tasks.step(torch.from_numpy(arms), active).reward.numpy().astype(np.int64)
        wins[rows, arms] += reward
        losses[rows, arms] += 1 - reward
    totals: NDArray[np.float64] = wins.sum(1).astype(np.float64)
    return totals


def largest(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the column of each row's largest value."""
    columns: NDArray[np.int64] = values.argmax(1)
    return columns


def random(state: BanditState) -> NDArray[np.int64]:
    """Choose a random arm."""
    return state.generator.integers(state.wins.shape[1], size=len(state.wins))


def greedy(state: BanditState) -> NDArray[np.int64]:
    """Choose the arm with the largest posterior mean."""
    return largest(state.mean)


def epsilon_greedy(epsilon: float) -> BanditPolicy:
    """Return a policy that chooses a random arm with probability ε, else the largest posterior mean."""

    def choose(state: BanditState) -> NDArray[np.int64]:
        is_random = state.generator.random(len(state.wins)) < epsilon
        return np.where(is_random, random(state), greedy(state))

    return choose


def ucb1(scale: float) -> BanditPolicy:
    """Return UCB1: mean plus scale · sqrt(2 ln t / n) (Auer et al. 2002), on posterior means and counts.

    Posterior means and counts are those of Duan et al.
    """

    def choose(state: BanditState) -> NDArray[np.int64]:
        counts = state.wins + state.losses + 2
        return largest(state.mean + scale * np.sqrt(2.0 * np.log(state.num_pulls + 2) / counts))

    return choose


def thompson(state: BanditState) -> NDArray[np.int64]:
    """Choose the arm with the largest of one draw from each posterior (Thompson 1933)."""
    return largest(state.generator.beta(state.wins + 1, state.losses + 1))


def optimistic_thompson(state: BanditState) -> NDArray[np.int64]:
    """Choose as :func:`thompson`, with draws below the mean raised to the mean (May et al. 2012)."""
    return largest(np.maximum(state.generator.beta(state.wins + 1, state.losses + 1), state.mean))


def gittins(indices: GittinsIndices) -> BanditPolicy:
    """Return a policy that chooses the largest finite-horizon Gittins index."""

    def choose(state: BanditState) -> NDArray[np.int64]:
        return largest(indices.table(state.pulls_left)[state.wins, state.losses].astype(np.float64))

    return choose


def bayes_optimal(solution: BayesOptimalBandit) -> BanditPolicy:
    """Return the policy of the exact dynamic programme."""

    def choose(state: BanditState) -> NDArray[np.int64]:
        arms = np.stack([state.wins, state.losses], axis=-1).tolist()
        return np.array([solution.choose([(wins, losses) for wins, losses in row]) for row in arms])

    return choose
