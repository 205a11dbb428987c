"""An environment of a user's own file."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class MyEnv(gym.Env[Any, Any]):
    """A line of places; the right end is the goal."""

    def __init__(self, length: int = 7, render_mode: str | None = None) -> None:
        self.length, self.render_mode = length, render_mode
        self.observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def observe(self) -> Any:
        return np.array([self.place / self.length], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.place = self.steps = 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.place = max(0, self.place + (1 if action else -1))
        self.steps += 1
        is_won = self.place >= self.length
        return self.observe(), float(is_won), is_won, self.steps >= 30, {}
