"""Gridworlds on one head: 7 × 7 cells whose walls, goal and meanings of the four actions differ between families.

Rules: the observation is the index of the cell, so all families share their spaces. An episode begins in a random free
cell and ends at the goal with reward ``1 - 0.9 · steps / MAX_EPISODE_STEPS`` (that of MiniGrid), or after
``MAX_EPISODE_STEPS`` with reward 0. A step into a wall has no effect. Tasks of a family differ in their starts only.

Shapes: B trials, C cells.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from envs.family import FamilySource, FamilySpec, Split
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from envs.task_batch import Transition
from envs.tensor.counter_random import stream_key, task_seeds, uniform_at

SIZE = 7
WALL_SHARE = 0.25
"""Chance that a cell is a wall; cells from which the goal cannot be reached are no starts."""
MIN_STARTS = 20
MAX_EPISODE_STEPS = 30
EPISODES_PER_TRIAL = 4
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))

GRIDWORLD_SPACES = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.DISCRETE, size=SIZE * SIZE),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(len(MOVES),), start=(0,)),
)


class Gridworld:
    """The fixed part of a family: its cells, its goal and where each action leads.

    Args:
        seed: seed of the walls, the goal and the meanings of the actions.

    Attributes:
        goal: index of the goal's cell.
        following: [C, 4] index of the cell after each action.
        distances: steps to the goal by cell; cells without a way to it are left out.
    """

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        while True:
            is_free = random.random((SIZE, SIZE)) >= WALL_SHARE
            self.goal = int(random.integers(SIZE * SIZE))
            is_free.flat[self.goal] = True
            meanings = random.permutation(len(MOVES))
            self.following = _following(is_free, [MOVES[meaning] for meaning in meanings])
            self.distances = _distances(self.following, self.goal, is_free)
            if len(self.distances) > MIN_STARTS:
                break
        self.starts = [cell for cell in self.distances if cell != self.goal]

    @property
    def best_return(self) -> float:
        """The mean trial return of the shortest ways, averaged over the starts."""
        mean_steps = float(np.mean([self.distances[cell] for cell in self.starts]))
        return EPISODES_PER_TRIAL * (1.0 - 0.9 * mean_steps / MAX_EPISODE_STEPS)


class Gridworlds:
    """A batch of B parallel tasks of one gridworld.

    Args:
        world: the family's fixed part.
        name: the family's name.
        num_trials: B.
    """

    def __init__(self, world: Gridworld, *, name: str, num_trials: int) -> None:
        self.spec = FamilySpec(
            name=name,
            source=FamilySource.TENSOR,
            entry="gridworlds",
            episodes_per_trial=EPISODES_PER_TRIAL,
            max_episode_steps=MAX_EPISODE_STEPS,
        )
        self.spaces, self.num_trials, self.device = GRIDWORLD_SPACES, num_trials, torch.device("cpu")
        self.may_truncate = True
        self.max_episode_steps = MAX_EPISODE_STEPS
        self._following = torch.from_numpy(world.following).flatten()
        self._starts, self._goal = torch.tensor(world.starts), world.goal

    def begin(self, first_task: int, *, split: Split) -> Float[Tensor, "B 1"]:
        """Begin tasks ``first_task … first_task + B - 1`` of a split."""
        key = stream_key(self.spec.entry, {"name": self.spec.name}, split, "starts")
        self._seeds = task_seeds(key, first_task, self.num_trials, self.device)
        self._first_task, self._split = first_task, split
        self._episode = torch.zeros(self.num_trials, dtype=torch.int64)
        self._episode_step = torch.zeros_like(self._episode)
        self._cell = self._drawn_starts()
        return self._observed(self._cell)

    def step(self, action: Int64[Tensor, "B"], active: Bool[Tensor, "B"]) -> Transition:
        """Move in every active row."""
        final = torch.where(active, self._following[self._cell * len(MOVES) + action], self._cell)
        self._episode_step += active
        terminated = (final == self._goal) & active
        truncated = (self._episode_step >= MAX_EPISODE_STEPS) & active & ~terminated
        reward = (1.0 - 0.9 * self._episode_step / MAX_EPISODE_STEPS) * terminated
        has_ended = terminated | truncated
        self._cell = final
        if has_ended.any():
            self._episode = self._episode + has_ended
            self._episode_step = self._episode_step.masked_fill(has_ended, 0)
            self._cell = torch.where(has_ended, self._drawn_starts(), final)
        return Transition(
            observation=self._observed(self._cell),
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            final_observation=self._observed(final),
        )

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the tasks in the given rows as JSON values."""
        return [{"split": self._split.value, "index": self._first_task + row} for row in rows]

    def task_parameters(self) -> Float[Tensor, "B 0"]:
        """Return no numbers: the tasks of a family differ in their starts only."""
        return torch.zeros(self.num_trials, 0)

    def close(self) -> None:
        """Release nothing; safe to call twice."""

    def _drawn_starts(self) -> Int64[Tensor, "B"]:
        chance = uniform_at(self._seeds, self._episode, 2)[:, 0]
        return self._starts[(chance * len(self._starts)).long()]

    @staticmethod
    def _observed(cell: Int64[Tensor, "B"]) -> Float[Tensor, "B 1"]:
        return cell.to(torch.float32).unsqueeze(1)


def _following(is_free: NDArray[np.bool_], moves: list[tuple[int, int]]) -> NDArray[np.int64]:
    following = np.empty((SIZE * SIZE, len(moves)), dtype=np.int64)
    for cell in range(SIZE * SIZE):
        row, column = divmod(cell, SIZE)
        for action, (down, right) in enumerate(moves):
            to_row, to_column = row + down, column + right
            is_inside = 0 <= to_row < SIZE and 0 <= to_column < SIZE
            is_open = is_inside and bool(is_free[to_row, to_column])
            following[cell, action] = to_row * SIZE + to_column if is_open else cell
    return following


def _distances(following: NDArray[np.int64], goal: int, is_free: NDArray[np.bool_]) -> dict[int, int]:
    """Return the steps to the goal by cell. Moves between free cells go both ways, so the search starts at the goal."""
    distances, waiting = {goal: 0}, deque([goal])
    while waiting:
        cell = waiting.popleft()
        for neighbour in following[cell].tolist():
            if neighbour not in distances and is_free.flat[neighbour]:
                distances[neighbour] = distances[cell] + 1
                waiting.append(neighbour)
    return distances
