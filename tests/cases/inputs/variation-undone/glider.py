"""An environment whose reset puts its wind back to the default."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class Glider(gym.Env[Any, Any]):
    observation_space = gym.spaces.Box(-10, 10, (1,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def __init__(self) -> None:
        self.wind = 1.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.wind, self.x, self.steps = 1.0, 0.0, 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        self.x = float(np.clip(self.x + self.wind * (int(action) - 1), -10, 10))
        return np.array([self.x], np.float32), self.x, False, self.steps >= 10, {}
