"""The transitions that an in-trial memory for discrete observations has seen, and what follows an action by them.

Shapes: B trials, R of them, S observations, K slots, G discounts, H held observations.
"""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional

MANY_OBSERVATIONS = 65
"""From this number on, an action's next observations are listed. Most have one to three, so that a sum over all
observations would mostly add zeros; with fewer observations it is faster."""

LISTED = 4
"""H, the number of next observations that are listed of each observation and action."""


class Transitions(Protocol):
    """The transitions of B parallel trials; none when created."""

    def add(self, place: Int64[Tensor, " B"], following: Int64[Tensor, " B"], weight: Float[Tensor, " B"]) -> None:
        """Count one transition of every trial.

        Args:
            place: [B] the trial, observation and action: their index among all B · S · K.
            following: [B] the next observation.
            weight: [B] 1, or 0 for a trial without one.
        """
        ...

    def followed(self, values: Float[Tensor, "B S G"], usual: Float[Tensor, "B 1 G"]) -> Float[Tensor, "B SK G"]:
        """Return Σ_s' n(s,a,s') V(s').

        Args:
            values: V.
            usual: the value that counts for next observations that are not held.
        """
        ...

    def kept(self, rows: Shaped[Tensor, " R"]) -> Transitions:
        """Return the transitions of these trials, in this order."""
        ...

    def forget(self, rows: Shaped[Tensor, " R"]) -> None:
        """Drop the transitions of these trials."""
        ...


def no_transitions(
    num_trials: int, num_observations: int, num_slots: int, *, device: torch.device | str
) -> Transitions:
    """Create the transitions of B trials that are about to begin."""
    kind = ListedTransitions if num_observations >= MANY_OBSERVATIONS else CountedTransitions
    return kind.none(num_trials, num_observations, num_slots, device=device)


class CountedTransitions:
    """A count for every observation, action and next observation.

    Args:
        counts: [B, SK, S].
    """

    def __init__(self, counts: Float[Tensor, "B SK S"]) -> None:
        self._counts = counts

    @classmethod
    def none(
        cls, num_trials: int, num_observations: int, num_slots: int, *, device: torch.device | str
    ) -> CountedTransitions:
        """Create the transitions of trials that are about to begin."""
        return cls(torch.zeros(num_trials, num_observations * num_slots, num_observations, device=device))

    def add(self, place: Int64[Tensor, " B"], following: Int64[Tensor, " B"], weight: Float[Tensor, " B"]) -> None:
        """Count one transition of every trial."""
        self._counts.view(-1).index_add_(0, place * self._counts.shape[2] + following, weight)

    def followed(self, values: Float[Tensor, "B S G"], usual: Float[Tensor, "B 1 G"]) -> Float[Tensor, "B SK G"]:
        """Return Σ_s' n(s,a,s') V(s')."""
        del usual  # all are held
        return torch.bmm(self._counts, values)

    def kept(self, rows: Shaped[Tensor, " R"]) -> CountedTransitions:
        """Return the transitions of these trials, in this order."""
        return CountedTransitions(self._counts.index_select(0, rows))

    def forget(self, rows: Shaped[Tensor, " R"]) -> None:
        """Drop the transitions of these trials."""
        self._counts[rows] = 0.0


class ListedTransitions:
    """The first ``LISTED`` next observations of every observation and action, with their counts.

    Transitions to other next observations are counted together.

    Args:
        following: [B, SK, H] the trial and the next observation: their index among all B · S; of a place of the list
            that is free, the trial's first observation.
        counts: [B, SK, H] the count of each; 0 where the place is free.
        others: [B, SK] the count of all transitions that are not listed.
        num_observations: S.
    """

    def __init__(
        self,
        following: Int64[Tensor, "B SK H"],
        counts: Float[Tensor, "B SK H"],
        others: Float[Tensor, "B SK"],
        *,
        num_observations: int,
    ) -> None:
        self._following, self._counts, self._others = following, counts, others
        self._num_observations = num_observations
        self._first = torch.arange(len(counts), device=counts.device) * num_observations

    @classmethod
    def none(
        cls, num_trials: int, num_observations: int, num_slots: int, *, device: torch.device | str
    ) -> ListedTransitions:
        """Create the transitions of trials that are about to begin."""
        shape = (num_trials, num_observations * num_slots)
        first = torch.arange(num_trials, device=device) * num_observations
        following = first.view(-1, 1, 1).expand(*shape, LISTED).contiguous()
        counts, others = torch.zeros(*shape, LISTED, device=device), torch.zeros(*shape, device=device)
        return cls(following, counts, others, num_observations=num_observations)

    def add(self, place: Int64[Tensor, " B"], following: Int64[Tensor, " B"], weight: Float[Tensor, " B"]) -> None:
        """Count one transition of every trial."""
        following = following + self._first
        listed, counts = self._following.view(-1, LISTED), self._counts.view(-1, LISTED)
        count = counts.index_select(0, place)
        is_same = (listed.index_select(0, place) == following.unsqueeze(1)) & (count > 0.0)
        # The first place with the same observation, else the first free one.
        suits, index = (2 * is_same.to(torch.int8) + (count == 0.0).to(torch.int8)).max(1)
        is_listed = (suits > 0) & (weight > 0.0)
        at = place * LISTED + index
        listed.view(-1)[at] = torch.where(is_listed, following, listed.view(-1)[at])
        counts.view(-1).index_add_(0, at, weight * is_listed)
        self._others.view(-1).index_add_(0, place, weight * ~is_listed)

    def followed(self, values: Float[Tensor, "B S G"], usual: Float[Tensor, "B 1 G"]) -> Float[Tensor, "B SK G"]:
        """Return Σ_s' n(s,a,s') V(s'), with the usual value after a transition that is not listed."""
        bags, weights = self._following.view(-1, LISTED), self._counts.view(-1, LISTED)
        summed = functional.embedding_bag(bags, values.flatten(0, 1), per_sample_weights=weights, mode="sum")
        return torch.addcmul(summed.view(*self._others.shape, -1), self._others.unsqueeze(2), usual)

    def kept(self, rows: Shaped[Tensor, " R"]) -> ListedTransitions:
        """Return the transitions of these trials, in this order."""
        first = torch.arange(len(rows), device=rows.device) * self._num_observations
        moved = (first - self._first.index_select(0, rows)).view(-1, 1, 1)
        return ListedTransitions(
            self._following.index_select(0, rows) + moved,
            self._counts.index_select(0, rows),
            self._others.index_select(0, rows),
            num_observations=self._num_observations,
        )

    def forget(self, rows: Shaped[Tensor, " R"]) -> None:
        """Drop the transitions of these trials."""
        self._following[rows] = self._first[rows].view(-1, 1, 1)
        self._counts[rows] = 0.0
        self._others[rows] = 0.0
