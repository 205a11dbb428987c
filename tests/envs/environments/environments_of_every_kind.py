"""Environments of every supported kind of space. Each checks every action that it is given."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

ACTIONS: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3, start=-7),
    "multi_discrete": spaces.MultiDiscrete([2, 3], start=[-1, 5]),
    "matrix": spaces.MultiDiscrete(np.array([[2, 3], [4, 2]])),
    "multi_binary": spaces.MultiBinary((2, 2)),
    "few_integers": spaces.Box(-2, 3, (2,), np.int8),
    "many_integers": spaces.Box(np.array([0, -1000]), np.array([3, 10**12]), dtype=np.int64),
    "all_integers": spaces.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (2,), np.int64),
    "bytes": spaces.Box(0, 255, (2,), np.uint8),
    "doubles": spaces.Box(-0.1, 1 / 3, (2, 1), np.float64),
    "one_number": spaces.Box(-2.0, 5.0, (), np.float32),
    "unbounded": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    "largest_bounds": spaces.Box(-np.finfo(np.float32).max, np.finfo(np.float32).max, (2,), np.float32),
    "tuple": spaces.Tuple((spaces.Discrete(2, start=3), spaces.Box(-1, 2, (2,)), spaces.MultiBinary(2))),
    "dict": spaces.Dict(
        {
            "gear": spaces.Discrete(4, start=-2),
            "inner": spaces.Dict({"steer": spaces.Box(-1, 1, (1,)), "lamps": spaces.MultiBinary(3)}),
            "pair": spaces.Tuple((spaces.Box(0, 100, (1,), np.int32), spaces.MultiDiscrete([2, 2]))),
        }
    ),
    "choices_of_parts": spaces.Tuple((spaces.Discrete(2), spaces.MultiDiscrete([3, 2], start=[1, -1]))),
    "one_of": spaces.OneOf((spaces.Discrete(3, start=1), spaces.Box(-1, 1, (2,)))),
    "huge_start": spaces.Tuple((spaces.Discrete(3, start=10**12), spaces.Box(-1, 1, (1,)))),
}


def bounded(space: Any, bound: int) -> Any:
    """Set the bound of a Sequence or a Graph and return the space."""
    space.max_length = space.max_nodes = bound
    return space


OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "sequence": bounded(spaces.Sequence(spaces.Box(-1, 1, (2,))), 40),
    "stacked": bounded(spaces.Sequence(spaces.Discrete(3, start=-1), stack=True), 40),
    "stacked_parts": bounded(
        spaces.Sequence(spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(0, 1)}), stack=True), 40
    ),
    "graph": bounded(spaces.Graph(spaces.Box(-1, 1, (2,)), spaces.Discrete(3)), 10),
    "nodes": bounded(spaces.Graph(spaces.Discrete(4), None), 10),
    "text": spaces.Text(6, charset="abc-"),
    "one_of": spaces.OneOf((spaces.Discrete(3), spaces.Box(-1, 1, (2,)))),
    "nested": spaces.Dict(
        {
            "list": bounded(spaces.Sequence(spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (1,))))), 40),
            "rest": spaces.Tuple((spaces.Text(3, charset="xy"), spaces.MultiBinary(2))),
        }
    ),
}


class EveryKind(gymnasium.Env[Any, Any]):
    """Checks that its actions are in its space, and samples its observations.

    Args:
        action: a key of ``ACTIONS``.
        observation: a key of ``OBSERVATIONS``; empty for one number.
    """

    def __init__(self, action: str = "discrete", observation: str = "") -> None:
        self.action_space = ACTIONS[action]
        self.observation_space = OBSERVATIONS[observation] if observation else spaces.Box(-1, 1, (1,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), f"{action!r} is outside {self.action_space}"
        assert not isinstance(action, np.ndarray) or action.dtype == self.action_space.dtype
        self.steps += 1
        return self.observation_space.sample(), float(self.steps), False, self.steps >= 5, {}


class Masked(gymnasium.Env[Any, Any]):
    """Raises if an action is not one that its mask allows; another part of the choices is allowed after each step.

    Args:
        kind: a key of ``ACTIONS``.
        told: ``info``, or ``observation`` for a mask that is a part of the observation.
    """

    def __init__(self, kind: str = "discrete", told: str = "info") -> None:
        self.action_space, self.told = ACTIONS[kind], told
        self.size = {"discrete": 3, "multi_discrete": 5, "dict": 14}[kind]
        number = spaces.Box(-1, 1, (1,), np.float32)
        mask = spaces.MultiBinary(self.size)
        self.observation_space = (
            spaces.Dict({"action_mask": mask, "number": number}) if told == "observation" else number
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self._seen()

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        for value, mask in self._choices(action):
            assert mask[value], f"{action!r} is not allowed: {self.mask}"
        self.steps += 1
        observation, info = self._seen()
        return observation, 1.0, False, self.steps >= 5, info

    def _seen(self) -> tuple[Any, dict[str, Any]]:
        self.mask = self._draw()
        number = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        if self.told == "observation":
            return {"action_mask": np.concatenate(self.mask), "number": number}, {}
        if isinstance(self.action_space, spaces.Discrete):
            return number, {"action_mask": self.mask[0]}
        if isinstance(self.action_space, spaces.MultiDiscrete):
            return number, {"action_mask": tuple(self.mask)}
        gear, lamps, first, second = self.mask
        inner = {"lamps": np.where(lamps[0::2] & lamps[1::2], 2, lamps[1::2]), "steer": None}
        return number, {"action_mask": {"gear": gear, "inner": inner, "pair": (None, (first, second))}}

    def _draw(self) -> list[Any]:
        sizes = {3: [3], 5: [2, 3], 14: [4, 6, 2, 2]}[self.size]
        masks = [np.zeros(size, np.int8) for size in sizes]
        for mask in masks:
            mask[self.np_random.integers(len(mask))] = 1
        if self.size == 14:
            lamps = masks[1].reshape(3, 2)
            lamps[:] = 1
            lamps[self.np_random.integers(3), self.np_random.integers(2)] = 0
        return masks

    def _choices(self, action: Any) -> list[tuple[int, Any]]:
        if isinstance(self.action_space, spaces.Discrete):
            return [(action - int(self.action_space.start), self.mask[0])]
        if isinstance(self.action_space, spaces.MultiDiscrete):
            return list(zip((action - self.action_space.start).tolist(), self.mask, strict=True))
        gear, lamps, first, second = self.mask
        of_lamps = list(zip(action["inner"]["lamps"].tolist(), lamps.reshape(3, 2), strict=True))
        return [(action["gear"] + 2, gear), *of_lamps, *zip(action["pair"][1].tolist(), (first, second), strict=True)]


class WrongMask(EveryKind):
    """Has three actions and a mask of two."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed)[0], {"action_mask": np.ones(2, np.int8)}


class NoBound(EveryKind):
    """Has a Sequence without a bound."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Sequence(spaces.Discrete(2))


class NoNodeBound(EveryKind):
    """Has a Graph without a bound as a part."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Dict({"map": spaces.Graph(spaces.Discrete(2), None)})


class SequenceOfActions(EveryKind):
    """Has a part of an action that is not supported."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Dict({"inner": spaces.Tuple((spaces.Sequence(spaces.Discrete(2)),))})


class TooLong(EveryKind):
    """Observes more elements than its bound."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = bounded(spaces.Sequence(spaces.Discrete(2)), 2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return (0, 1, 1), {}
