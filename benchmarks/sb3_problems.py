"""The problems on which learnd is compared with PPO of stable-baselines3, and PPO's settings for each.

PPO's settings are those that rl-baselines3-zoo tuned (``hyperparams/ppo.yml`` of 2025). Problems that it does not have
get stable-baselines3's defaults with 8 environments, and normalisation for vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
from gymnasium.wrappers import FlattenObservation
from torch import nn

MUJOCO_NETWORK: Mapping[str, Any] = {
    "log_std_init": -2,
    "ortho_init": False,
    "activation_fn": nn.ReLU,
    "net_arch": {"pi": [256, 256], "vf": [256, 256]},
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An environment and what PPO needs to learn it.

    Attributes:
        entry: the entry for learnd, an id or ``module:function``.
        ppo: keyword arguments of PPO; a rate or clipping range as a text is the start of a linear fall to 0.
        num_envs: number of PPO's environments.
        is_normalised: whether PPO's observations and rewards are normalised.
        make: a function that makes the environment for PPO; None makes ``entry``.
    """

    entry: str
    ppo: Mapping[str, Any] = field(default_factory=dict)
    num_envs: int = 8
    is_normalised: bool = False
    make: Callable[[], gymnasium.Env[Any, Any]] | None = None

    def environment(self) -> gymnasium.Env[Any, Any]:
        """Return the environment for PPO."""
        return gymnasium.make(self.entry) if self.make is None else self.make()


def door_key() -> gymnasium.Env[Any, Any]:
    """Return MiniGrid's DoorKey-5x5 with its symbols as one vector."""
    from minigrid.wrappers import ImgObsWrapper

    observed = ImgObsWrapper(gymnasium.make("MiniGrid-DoorKey-5x5-v0"))  # type: ignore[no-untyped-call]
    return FlattenObservation(observed)


def breakout() -> gymnasium.Env[Any, Any]:
    """Return MinAtar's Breakout with its cells as one vector."""
    from benchmarks.minatar_games import MinAtarGame

    return gymnasium.wrappers.TimeLimit(MinAtarGame("breakout"), max_episode_steps=BREAKOUT_STEPS)


BREAKOUT_STEPS = 1000
LANDER = {
    "n_steps": 1024,
    "batch_size": 64,
    "gae_lambda": 0.98,
    "gamma": 0.999,
    "n_epochs": 4,
    "ent_coef": 0.01,
}
PROBLEMS: dict[str, Problem] = {
    "cartpole": Problem(
        entry="CartPole-v1",
        ppo={
            "n_steps": 32,
            "batch_size": 256,
            "gae_lambda": 0.8,
            "gamma": 0.98,
            "n_epochs": 20,
            "learning_rate": "0.001",
            "clip_range": "0.2",
        },
    ),
    "acrobot": Problem(
        entry="Acrobot-v1",
        ppo={"n_steps": 256, "gae_lambda": 0.94, "gamma": 0.99, "n_epochs": 4},
        num_envs=16,
        is_normalised=True,
    ),
    "mountaincar": Problem(
        entry="MountainCar-v0",
        ppo={"n_steps": 16, "gae_lambda": 0.98, "gamma": 0.99, "n_epochs": 4},
        num_envs=16,
        is_normalised=True,
    ),
    "lunarlander": Problem(entry="LunarLander-v3", ppo=LANDER, num_envs=16),
    "lunarlander-continuous": Problem(entry="LunarLanderContinuous-v3", ppo=LANDER, num_envs=16),
    "pendulum": Problem(
        entry="Pendulum-v1",
        ppo={
            "n_steps": 1024,
            "gae_lambda": 0.95,
            "gamma": 0.9,
            "n_epochs": 10,
            "learning_rate": 1e-3,
            "clip_range": 0.2,
            "use_sde": True,
            "sde_sample_freq": 4,
        },
        num_envs=4,
    ),
    "bipedalwalker": Problem(
        entry="BipedalWalker-v3",
        ppo={
            "n_steps": 2048,
            "batch_size": 64,
            "gae_lambda": 0.95,
            "gamma": 0.999,
            "n_epochs": 10,
            "learning_rate": 3e-4,
            "clip_range": 0.18,
        },
        num_envs=32,
        is_normalised=True,
    ),
    "halfcheetah": Problem(
        entry="HalfCheetah-v5",
        ppo={
            "n_steps": 512,
            "batch_size": 64,
            "gamma": 0.98,
            "learning_rate": 2.0633e-05,
            "ent_coef": 0.000401762,
            "clip_range": 0.1,
            "n_epochs": 20,
            "gae_lambda": 0.92,
            "max_grad_norm": 0.8,
            "vf_coef": 0.58096,
            "policy_kwargs": MUJOCO_NETWORK,
        },
        num_envs=1,
        is_normalised=True,
    ),
    "hopper": Problem(
        entry="Hopper-v5",
        ppo={
            "n_steps": 512,
            "batch_size": 32,
            "gamma": 0.999,
            "learning_rate": 9.80828e-05,
            "ent_coef": 0.00229519,
            "clip_range": 0.2,
            "n_epochs": 5,
            "gae_lambda": 0.99,
            "max_grad_norm": 0.7,
            "vf_coef": 0.835671,
            "policy_kwargs": MUJOCO_NETWORK,
        },
        num_envs=1,
        is_normalised=True,
    ),
    "doorkey": Problem(
        entry="benchmarks.sb3_problems:door_key",
        ppo={"n_steps": 128, "batch_size": 64, "n_epochs": 10, "learning_rate": 2.5e-4},
        is_normalised=True,
        make=door_key,
    ),
    "breakout": Problem(
        entry="benchmarks.sb3_problems:breakout",
        ppo={
            "n_steps": 128,
            "batch_size": 256,
            "n_epochs": 4,
            "learning_rate": "0.00025",
            "clip_range": "0.1",
            "ent_coef": 0.01,
        },
        make=breakout,
    ),
    "taxi": Problem(entry="Taxi-v4"),
    "blackjack": Problem(entry="Blackjack-v1"),
}
