"""A function that makes MiniGrid's empty room and observes its image alone."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import minigrid  # noqa: F401  (registers its environments)
from minigrid.wrappers import ImgObsWrapper


def empty() -> Any:
    return ImgObsWrapper(gym.make("MiniGrid-Empty-5x5-v0"))
