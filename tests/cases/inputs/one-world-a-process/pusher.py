"""An environment that keeps its state in a module's global, so that all copies in a process share it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

WORLD = {"x": 0.0, "steps": 0.0}


class Pusher(gym.Env[Any, Any]):
    observation_space = gym.spaces.Box(-20, 20, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        WORLD.update(x=0.0, steps=0.0)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        WORLD["steps"] += 1
        WORLD["x"] = float(np.clip(WORLD["x"] + 2 * int(action) - 1, -20, 20))
        return np.array([WORLD["x"]], np.float32), WORLD["x"], False, WORLD["steps"] >= 20, {}
