"""Environments with a space or a habit that is not supported: each is named as spaces_envs:Class."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class _Base(gym.Env[Any, Any]):
    observation_space: spaces.Space[Any] = spaces.Box(-1, 1, (3,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        self.steps += 1
        return self.observation_space.sample(), 1.0, self.steps >= 20, False, {}


class MultiDiscreteAction(_Base):
    action_space = spaces.MultiDiscrete([3, 2, 4])


class DictTextObs(_Base):
    observation_space = spaces.Dict({"x": spaces.Box(-1, 1, (3,), np.float32), "mission": spaces.Text(20)})


class DictSequenceObs(_Base):
    observation_space = spaces.Dict({"x": spaces.Discrete(3), "seen": spaces.Sequence(spaces.Discrete(4))})


class DictAction(_Base):
    action_space = spaces.Dict({"gear": spaces.Discrete(3, start=1), "steer": spaces.Box(-1, 1, (2,), np.float32)})


class NoSeedKw(_Base):
    def reset(self) -> Any:  # type: ignore[override]
        self.steps = 0
        return np.zeros(3, np.float32), {}


class OldApi(_Base):
    def reset(self) -> Any:  # type: ignore[override]
        self.steps = 0
        return np.zeros(3, np.float32)


class NeedsArg(_Base):
    def __init__(self, size: int) -> None:
        self.size = size


def vectorised() -> Any:
    return gym.make_vec("CartPole-v1", num_envs=4)


def nothing() -> None:
    return None
