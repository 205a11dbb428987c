"""Environments that observe images, as one writes them for ``learnd env add module:function``."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.wrappers import GrayscaleObservation, MaxAndSkipObservation


def minigrid(name: str) -> gymnasium.Env[Any, Any]:
    """Return an environment of MiniGrid as the agent sees it, in colours, without its mission."""
    from minigrid.wrappers import ImgObsWrapper, RGBImgPartialObsWrapper

    seen = RGBImgPartialObsWrapper(gymnasium.make(name))  # type: ignore[no-untyped-call]
    return ImgObsWrapper(seen)  # type: ignore[no-untyped-call]


def minatar(game: str) -> gymnasium.Env[Any, Any]:
    """Return a game of MinAtar with its own actions."""
    from minatar.gym import BaseEnv

    env: gymnasium.Env[Any, Any] = BaseEnv(game, use_minimal_action_set=True)
    return env


def atari(name: str) -> gymnasium.Env[Any, Any]:
    """Return a game of the Arcade Learning Environment: grey, and the maximum of the last two of four frames."""
    import ale_py

    gymnasium.register_envs(ale_py)
    return GrayscaleObservation(MaxAndSkipObservation(gymnasium.make(name, frameskip=1), skip=4), keep_dim=True)


def car_racing() -> gymnasium.Env[Any, Any]:
    """Return CarRacing with its continuous actions."""
    return gymnasium.make("CarRacing-v3")
