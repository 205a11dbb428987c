"""An in-trial memory for vectors of which few are different: a table of the observations that the trial met.

Row and column of a grid, for example, or the cards of a game. The policy's input layer goes on seeing the vector, so
that what it learns in a row holds in all of its columns; the memory matches equal vectors, and plans over them.

Shapes: B trials, M observations that are held, D observation width, K slots, F features of a read.
"""

from __future__ import annotations

from copy import copy

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from agent.learners.distributions import num_slots
from agent.learners.rl2.in_trial_memory.table import TableMemory
from envs.spaces import SpacePair
from envs.tensor.counter_random import seeds_of

MAX_MET = 127
"""Most observations that are held of a trial. Nothing is known at the others."""

MAX_SIZE = 1024
"""Most pairs of an observation that is held and a choice. Every step plans over all of them: with 512, a step of 32
trials takes about 1.7 ms."""

HASH_SEED = 7


class MetMemory:
    """A memory that numbers the observations of a trial as it meets them, and holds a table of the numbers.

    Args:
        num_trials: B.
        spaces: the space pair, whose number of different observations is known; actions are discrete.
        episodes_per_trial: E.
        discounts: the discounts of the table's plans.
        device: device of the tensors.
    """

    def __init__(
        self,
        num_trials: int,
        spaces: SpacePair,
        *,
        episodes_per_trial: int,
        discounts: tuple[float, ...],
        device: torch.device | str,
    ) -> None:
        self._num_held = num_held = _num_held(spaces)
        # The table has one more observation, for those that are not held; it stays empty.
        self._table = TableMemory(
            num_trials,
            num_held + 1,
            spaces.action,
            episodes_per_trial=episodes_per_trial,
            discounts=discounts,
            device=device,
        )
        self._met = torch.zeros(num_trials, num_held, dtype=torch.int64, device=device)
        """The hash of each observation that was met."""
        self._num_met = torch.zeros(num_trials, dtype=torch.int64, device=device)
        self._numbers = torch.arange(num_held, device=device)
        places = torch.arange(spaces.observation.width, device=device)
        self._factors = seeds_of(HASH_SEED, places).bitwise_or_(1)  # odd, so that no bit of a product is lost

    @staticmethod
    def size_of(spaces: SpacePair) -> int:
        """Return the number of pairs of an observation that is held and a choice."""
        return _num_held(spaces) * num_slots(spaces.action)

    def read(self, observation: Float[Tensor, "B D"]) -> Float[Tensor, "B K F"]:
        """Return what the trial has met at these observations, one result per slot."""
        return self._table.read(self._number(self._hash(observation)).unsqueeze(1).float())

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
        """Add one step of every active trial, and number its observations.

        Steps from an observation that is not held are left out.
        """
        number = self._meet(self._hash(observation), active)
        following = self._meet(self._hash(next_observation), active & ~terminated)
        self._table.write(
            observation=number.unsqueeze(1).float(),
            action=action,
            reward=reward,
            next_observation=following.unsqueeze(1).float(),
            terminated=terminated,
            active=active & (number < self._num_held),
        )

    def end_episodes(self, ended: Bool[Tensor, " B"]) -> None:
        """Count the episodes that ended."""
        self._table.end_episodes(ended)

    def begin_again(self, episodes_per_trial: int) -> None:
        """Begin another trial in each of the tasks."""
        self._table.begin_again(episodes_per_trial)

    def select(self, rows: Shaped[Tensor, " R"]) -> MetMemory:
        """Return a copy that holds these trials, in this order."""
        selected = copy(self)
        selected.keep(rows)
        return selected

    def keep(self, rows: Shaped[Tensor, " R"]) -> None:
        """Keep only these trials, in this order."""
        self._table = self._table.select(rows)
        self._met, self._num_met = self._met.index_select(0, rows), self._num_met.index_select(0, rows)

    def forget(self, rows: Shaped[Tensor, " R"]) -> None:
        """Drop every step of these trials."""
        self._table.forget(rows)
        self._num_met[rows] = 0

    def _hash(self, observation: Float[Tensor, "B D"]) -> Int64[Tensor, " B"]:
        """Return a number that is equal for equal observations, and different for others but for a chance of 1e-19."""
        bits = (observation + 0.0).contiguous().view(torch.int32).to(torch.int64)  # -0.0 equals 0.0
        return ((bits ^ (bits << 21)) * self._factors).sum(1)

    def _number(self, hashes: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
        """Return the numbers of observations; M for those that are not held."""
        is_equal = (self._met == hashes.unsqueeze(1)) & (self._numbers < self._num_met.unsqueeze(1))
        found, number = is_equal.max(1)
        return torch.where(found, number, self._num_held)

    def _meet(self, hashes: Int64[Tensor, " B"], active: Bool[Tensor, " B"]) -> Int64[Tensor, " B"]:
        """Return the numbers of observations, after numbering new ones of the active trials while there is room."""
        number = self._number(hashes)
        is_new = (number == self._num_held) & active & (self._num_met < self._num_held)
        place = self._num_met.clamp(max=self._num_held - 1).unsqueeze(1)
        self._met.scatter_(1, place, torch.where(is_new, hashes, self._met.gather(1, place)[:, 0]).unsqueeze(1))
        number = torch.where(is_new, self._num_met, number)
        self._num_met = self._num_met + is_new
        return number


def _num_held(spaces: SpacePair) -> int:
    """Return M."""
    return min(MAX_MET, spaces.observation.num_distinct)
