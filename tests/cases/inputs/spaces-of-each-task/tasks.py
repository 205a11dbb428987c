"""Environments whose action space depends on a keyword argument."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Counted(gym.Env[Any, Any]):
    """Gives a reward of 1 per step and ends after 10 steps."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return np.zeros(1, np.float32), 1.0, False, self.steps >= 10, {}


class Motor(Counted):
    def __init__(self, limit: float = 1.0) -> None:
        self.action_space = spaces.Box(-limit, limit, (1,), np.float32)


class Shop(Counted):
    def __init__(self, first: int = 0) -> None:
        self.action_space = spaces.Discrete(4, start=first)


class Levers(Counted):
    def __init__(self, positions: int = 3) -> None:
        self.action_space = spaces.MultiDiscrete([positions, positions])
