"""Environments that observe images: random ones, which follow from the seed and the step."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Camera(gymnasium.Env[Any, Any]):
    """Observes an image; an episode terminates after ``length`` steps."""

    action_space = spaces.Discrete(3)

    def __init__(
        self,
        shape: tuple[int, ...] = (40, 30, 3),
        *,
        dtype: str = "uint8",
        low: float = 0,
        high: float = 255,
        length: int = 4,
    ) -> None:
        self.observation_space: spaces.Space[Any] = spaces.Box(low, high, tuple(shape), np.dtype(dtype).type)
        self.length = length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.observe(), float(self.steps), self.steps >= self.length, False, {}

    def observe(self) -> Any:
        return self.picture(self.observation_space)

    def picture(self, space: Any) -> Any:
        drawn = self.np_random.random(space.shape)
        if space.dtype.kind == "f":
            return (space.low + drawn * (space.high - space.low)).astype(space.dtype)
        if space.dtype.kind == "b":
            return drawn < 0.5
        return np.floor(space.low + drawn * (space.high - space.low + 1.0)).astype(space.dtype)


class Robot(Camera):
    """Observes two cameras, its joints and a gear."""

    def __init__(self, length: int = 4) -> None:
        super().__init__(length=length)
        self.observation_space = spaces.Dict(
            {
                "front": spaces.Box(0, 255, (40, 30, 3), np.uint8),
                "gear": spaces.Discrete(4),
                "hand": spaces.Box(0, 1, (10, 10, 4), np.bool_),
                "joints": spaces.Box(-np.inf, np.inf, (5,), np.float64),
            }
        )

    def observe(self) -> Any:
        return {
            "front": self.picture(self.observation_space["front"]),  # type: ignore[index]
            "gear": self.steps % 4,
            "hand": self.picture(self.observation_space["hand"]),  # type: ignore[index]
            "joints": self.np_random.normal(size=5),
        }


class BrokenRobot(Robot):
    """Its joints are NaN after two steps."""

    def observe(self) -> Any:
        seen = super().observe()
        return {**seen, "joints": seen["joints"] * (np.nan if self.steps > 1 else 1.0)}
