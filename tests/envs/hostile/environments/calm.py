"""The behaviour that hostile environments share until they misbehave."""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

TOKEN = os.environ.get("HOSTILE_TOKEN", "600.0")
"""Mark of everything that a hostile environment leaves behind: a length of sleep, or a part of a name."""


class Calm(gymnasium.Env[Any, Any]):
    """Walks on a line; every fifth step of an episode may misbehave."""

    observation_space: spaces.Space[Any] = spaces.Box(-100.0, 100.0, (2,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.place, self.num_steps = float(self.np_random.uniform(-1, 1)), 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.num_steps += 1
        self.place += 2.0 * action - 1.0
        if self.num_steps == 5:
            self.misbehave()
        return self.observe(), self.place, False, self.num_steps >= 12, {}

    def observe(self) -> Any:
        return np.array([self.place, self.num_steps], np.float32)

    def misbehave(self) -> None:
        """Do nothing."""
