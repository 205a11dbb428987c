"""Environments that behave until a file exists, and then have one fault each."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

EPISODE_STEPS = 20
IDLE_S = 0.5


class Tripped(gymnasium.Env[Any, Any]):
    """An environment of episodes of 20 steps that pays 1 for each step.

    Args:
        trip: the file whose existence brings the fault about.
    """

    observation_space: spaces.Space[Any] = spaces.Box(-1.0, 1.0, (3,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self, trip: str) -> None:
        self._trip = Path(trip)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        reward = self.faulty_reward() if self._trip.exists() else 1.0
        return self._observe(), reward, self._steps >= EPISODE_STEPS, False, {}

    def faulty_reward(self) -> float:
        """Return the reward of a step with the fault."""
        return 1.0

    def _observe(self) -> Any:
        return self.np_random.uniform(-1.0, 1.0, 3).astype(np.float32)


class Segfaulting(Tripped):
    """Reads at address 0."""

    def faulty_reward(self) -> float:
        ctypes.string_at(0)
        return 1.0


class ShortLived(Tripped):
    """Ends its process as soon as it is idle, after practice that succeeded."""

    def __init__(self, trip: str) -> None:
        super().__init__(trip)
        self._stepped_at = float("inf")
        threading.Thread(target=self._end_when_idle, daemon=True).start()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._stepped_at = time.monotonic()
        return super().step(action)

    def _end_when_idle(self) -> None:
        while not self._trip.exists() or time.monotonic() - self._stepped_at < IDLE_S:
            time.sleep(0.1)
        os._exit(3)


class Worthless(Tripped):
    """Pays nothing any more."""

    def faulty_reward(self) -> float:
        return 0.0


class Unusable(Tripped):
    """Cannot be reset."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        raise RuntimeError("there is no world")
