"""Environments of long episodes."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class LongWalk(gymnasium.Env[NDArray[np.float32], np.int64]):
    """A walk of ``num_steps`` steps that pays for each step to the right."""

    def __init__(self, num_steps: int = 100_000) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (2,))
        self.action_space = spaces.Discrete(2)
        self._num_steps = num_steps

    def reset(self, **options: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(**options)
        self._phase, self._taken = float(self.np_random.random()), 0
        return self._seen(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._taken += 1
        return self._seen(), float(action), self._taken == self._num_steps, False, {}

    def _seen(self) -> NDArray[np.float32]:
        angle = 0.1 * self._taken + self._phase
        return np.array([np.sin(angle), np.cos(angle)], dtype=np.float32)
