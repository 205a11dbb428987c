"""Environments whose spaces depend on ``value``: a keyword argument, an attribute or a reset option of the task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

FIXED_OBSERVATION: spaces.Space[Any] = spaces.Box(-1, 1, (2,), np.float32)
FIXED_ACTION: spaces.Space[Any] = spaces.Discrete(2)

ACTIONS: dict[str, Callable[[int], spaces.Space[Any]]] = {
    "upper bound": lambda value: spaces.Box(-1, value, (1,), np.float32),
    "lower bound": lambda value: spaces.Box(-value, 1, (1,), np.float32),
    "one bound of several": lambda value: spaces.Box(np.float32([-1, -1]), np.float32([1, value])),
    "width": lambda value: spaces.Box(-1, 1, (value,), np.float32),
    "dtype": lambda value: spaces.Box(-1, 1, (1,), np.float32 if value == 2 else np.float64),
    "n": spaces.Discrete,
    "start": lambda value: spaces.Discrete(3, start=value),
    "nvec": lambda value: spaces.MultiDiscrete([2, value]),
    "nvec start": lambda value: spaces.MultiDiscrete([2, 2], start=[0, value]),
    "kind": lambda value: spaces.Discrete(4) if value == 2 else spaces.MultiDiscrete([4]),
}
OBSERVATIONS: dict[str, Callable[[int], spaces.Space[Any]]] = {
    "shape": lambda value: spaces.Box(-1, 1, (value,), np.float32),
    "axes": lambda value: spaces.Box(-1, 1, (2, 3) if value == 2 else (3, 2), np.float32),
    "dtype": lambda value: spaces.Box(-1, 1, (2,), np.float32 if value == 2 else np.float64),
    "n": spaces.Discrete,
    "start": lambda value: spaces.Discrete(2, start=value),
    "nvec": lambda value: spaces.MultiDiscrete([2, value]),
    "bits": spaces.MultiBinary,
    "part": lambda value: spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Tuple((spaces.Discrete(value),))}),
    "keys": lambda value: spaces.Dict({"a" if value == 2 else "b": spaces.Discrete(2)}),
}


class OwnSpaces(gymnasium.Env[Any, Any]):
    """Takes its spaces from ``value`` when it is made, and again at each reset."""

    def __init__(self, action: str = "", observation: str = "", value: int = 2) -> None:
        self.action, self.observation, self.value = action, observation, value
        self.take_spaces()

    def take_spaces(self) -> None:
        self.action_space = ACTIONS[self.action](self.value) if self.action else FIXED_ACTION
        self.observation_space = OBSERVATIONS[self.observation](self.value) if self.observation else FIXED_OBSERVATION

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.value = (options or {}).get("value", self.value)
        self.take_spaces()
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.observation_space.sample(), float(self.value), self.steps >= 4, False, {}


class WidensInPlace(OwnSpaces):
    """Changes the bounds of the one space that it has."""

    def __init__(self, value: int = 2) -> None:
        super().__init__("upper bound", "", value)

    def take_spaces(self) -> None:
        if not hasattr(self, "_action_space"):
            self._action_space = spaces.Box(-1, 1, (1,), np.float32)
        self._action_space.high[:] = self.value
        self.action_space, self.observation_space = self._action_space, FIXED_OBSERVATION


class WidensLater(OwnSpaces):
    """Has another action space from its third episode on."""

    def __init__(self) -> None:
        self.num_episodes = 0
        super().__init__("n", "")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.num_episodes = self.num_episodes + 1 if seed is None else 0
        self.value = 2 if self.num_episodes < 2 else 3
        return super().reset(seed=seed)


class OwnObservationBounds(OwnSpaces):
    """Observes within bounds of its own."""

    def take_spaces(self) -> None:
        self.action_space = FIXED_ACTION
        self.observation_space = spaces.Box(-self.value, self.value, (2,), np.float32)
