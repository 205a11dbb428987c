"""Environments of a point that drifts: copies that share what they should not, and varied values that are lost."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces


class Drifts(gymnasium.Env[Any, Any]):
    """Moves by its action; an episode ends after 20 steps."""

    observation_space: spaces.Space[Any] = spaces.Box(-100.0, 100.0, (3,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.world = self.own_world()
        self.world.update(x=self.np_random.uniform(), steps=0)
        return self.observe(), {}

    def own_world(self) -> dict[str, float]:
        return {}

    def step(self, action: Any) -> Any:
        self.world["steps"] += 1
        self.world["x"] += 1.0 if action else -1.0
        return self.observe(), self.world["x"], False, self.world["steps"] >= 20, {}

    def observe(self) -> Any:
        return np.full(3, self.world["x"], np.float32)


class OneWorld(Drifts):
    """All copies move the same point."""

    only_world: ClassVar[dict[str, float]] = {}

    def own_world(self) -> dict[str, float]:
        return self.only_world


class OneClock(Drifts):
    """All copies count the steps of their episodes together."""

    class_steps = 0

    def step(self, action: Any) -> Any:
        OneClock.class_steps += 1
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, OneClock.class_steps % 20 == 0, info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        OneClock.class_steps = 0
        return super().reset(seed=seed)


class OneSetting(Drifts):
    """Keeps its own keyword argument in its class, where the copy that is made last has the last word."""

    class_force = 1.0

    def __init__(self, force: float = 1.0) -> None:
        super().__init__()
        OneSetting.class_force = force

    def step(self, action: Any) -> Any:
        self.world["x"] += OneSetting.class_force
        return super().step(action)


class Blown(Drifts):
    """Is blown away by ``wind``, and has values that are lost or never used.

    Args:
        unread: never read.
    """

    def __init__(self, force: float = 1.0, unread: float = 1.0) -> None:
        super().__init__()
        self.force = force
        self.put_back = self.scaled = self.wind = self.unused = self.at_the_end = 1.0
        self.winds = np.ones(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        observation, info = super().reset(seed=seed)
        self.put_back = 1.0
        self.winds[:] = 1.0
        self.scaled = float(np.floor(10 * self.scaled)) / 10
        self.gust = (options or {}).get("gust", 0.0)
        return observation, info

    def step(self, action: Any) -> Any:
        self.world["x"] += self.wind * self.force + self.gust + self.put_back + self.scaled + self.winds.sum()
        if self.world["x"] > 1000:
            self.world["x"] += self.at_the_end
        return super().step(action)
