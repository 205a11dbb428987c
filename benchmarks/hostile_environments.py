"""Environments that behave until the file ``TRIP_FILE`` exists, so that they are admitted, and then harm their family.

``python -m benchmarks.isolation`` practises them beside good families.
"""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

TRIP_FILE = "HOSTILE_TRIP_FILE"
"""Environment variable with the path of the file."""

EPISODE_STEPS = 20
LEAK_BYTES = 4 << 20


class _Tripped(gymnasium.Env[Any, Any]):
    """An environment of episodes of 20 steps that calls ``harm`` at each step once the file exists."""

    observation_space: spaces.Space[Any] = spaces.Box(-1.0, 1.0, (3,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        if self._steps == EPISODE_STEPS // 2 and Path(os.environ[TRIP_FILE]).exists():
            self.harm()
        return self._observe(), float(action), self._steps >= EPISODE_STEPS, False, {}

    def harm(self) -> None:
        """Do what the environment is for."""

    def _observe(self) -> Any:
        return self.np_random.uniform(-1.0, 1.0, 3).astype(np.float32)


class Hanging(_Tripped):
    """Never returns from a step."""

    def harm(self) -> None:
        """Wait for ever."""
        while True:
            time.sleep(1.0)


class Segfaulting(_Tripped):
    """Reads at address 0."""

    def harm(self) -> None:
        """Crash."""
        ctypes.string_at(0)


class Leaking(_Tripped):
    """Keeps 4 MiB more in each episode."""

    def harm(self) -> None:
        """Leak."""
        self.__dict__.setdefault("_leaked", []).append(np.ones(LEAK_BYTES, np.uint8))


class Slow(_Tripped):
    """Takes 60 steps a second, with the processor busy."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step after a sixtieth of a second of work."""
        end = time.monotonic() + 1.0 / 60.0
        while time.monotonic() < end:
            pass
        return super().step(action)
