"""An environment that reads its level by a relative path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np


class Level(gym.Env[Any, Any]):
    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        self.level = np.array(Path("levels/first.txt").read_text().split(), np.float32)
        return self.level.copy(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.level.copy(), float(action), False, self.steps >= 10, {}
