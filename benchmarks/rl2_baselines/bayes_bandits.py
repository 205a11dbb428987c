"""The Bayes-optimal policy for Bernoulli bandits of few pulls, by dynamic programming over states of knowledge.

A state consists of the wins and losses of the pulled arms, in any order (arms are exchangeable), and the number of arms
not pulled:

V(state) = max_arm  p + p V(state after a win) + (1 - p) V(state after a loss),   p = (w + 1) / (w + l + 2).
"""

from __future__ import annotations

from functools import cache

Arm = tuple[int, int]
"""Wins and losses."""


class BayesOptimalBandit:
    """A solver for the exact values and choices of n pulls on k arms.

    Args:
        num_arms: k.
        num_pulls: n, at most about ten: the number of states grows fast.
    """

    def __init__(self, num_arms: int, num_pulls: int) -> None:
        self._num_arms = num_arms
        self._num_pulls = num_pulls
        self._best = cache(self._solve)

    def value(self) -> float:
        """Return the expected total reward of optimal play."""
        return self._best(())[0]

    def choose(self, arms: list[Arm]) -> int:
        """Return the arm to pull next, given every arm's wins and losses."""
        known = tuple(sorted(arm for arm in arms if arm != (0, 0)))
        return arms.index(self._best(known)[1])

    def _solve(self, known: tuple[Arm, ...]) -> tuple[float, Arm]:
        num_pulled = sum(map(sum, known))
        if num_pulled == self._num_pulls:
            return 0.0, (0, 0)
        candidates = set(known)
        if len(known) < self._num_arms:
            candidates.add((0, 0))
        return max((self._value_of(known, arm), arm) for arm in candidates)

    def _value_of(self, known: tuple[Arm, ...], arm: Arm) -> float:
        wins, losses = arm
        chance = (wins + 1) / (wins + losses + 2)
        others = list(known)
        if arm != (0, 0):
            others.remove(arm)
        after_win, after_loss = (
            self._best(tuple(sorted([*others, result])))[0] for result in ((wins + 1, losses), (wins, losses + 1))
        )
        return chance * (1.0 + after_win) + (1.0 - chance) * after_loss
