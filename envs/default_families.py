"""Descriptions of the families that are added to an empty store. The daemon reads them without importing torch."""

from __future__ import annotations

from envs.family import FamilySource, FamilySpec
from envs.gymnasium.variations import Distribution, Variation, VariationTarget

BERNOULLI_BANDITS = "bernoulli_bandits"
TABULAR_MDPS = "tabular_mdps"
VARIED_CARTPOLE = "varied_cartpole"
NAVIGATION = "navigation"
RECURRING_BANDITS = "recurring_bandits"
DARK_ROOMS = "dark_rooms"
TENSOR_FAMILIES = (BERNOULLI_BANDITS, TABULAR_MDPS, VARIED_CARTPOLE, NAVIGATION, RECURRING_BANDITS, DARK_ROOMS)
"""The values of ``entry`` for tensor-native families."""

RECURRING_TENSOR_FAMILIES = (RECURRING_BANDITS, DARK_ROOMS)
"""Those whose tasks recur."""


def default_stream() -> list[FamilySpec]:
    """Return the six families that are added to an empty store.

    They have two kinds of action space and need only pip packages.
    """
    return [_bandits(), _mdps(), _cartpole(), _acrobot(), _frozenlake(), _pendulum()]


def _bandits() -> FamilySpec:
    return FamilySpec(
        name="bandits",
        source=FamilySource.TENSOR,
        entry=BERNOULLI_BANDITS,
        kwargs={"num_arms": 5},
        episodes_per_trial=10,
        random_return=5.0,
        reference_return=6.660,
        reference_source="Bayes-optimal return of 10 pulls on 5 arms, by exact dynamic programming",
    )


def _mdps() -> FamilySpec:
    return FamilySpec(
        name="mdps",
        source=FamilySource.TENSOR,
        entry=TABULAR_MDPS,
        kwargs={"num_states": 10, "num_actions": 5, "horizon": 10},
        episodes_per_trial=10,
        random_return=100.0,
        reference_return=159.1,
        reference_source="best published return of 10 episodes: SNAIL (Mishra et al. 2018); RL² 156.2",
    )


def _cartpole() -> FamilySpec:
    return FamilySpec(
        name="cartpole",
        source=FamilySource.GYMNASIUM,
        entry="CartPole-v1",
        variations=(
            Variation(name="length", low=0.25, high=1.0),
            Variation(name="masspole", low=0.05, high=0.5),
            Variation(name="masscart", low=0.5, high=2.0),
            Variation(name="force_mag", low=5.0, high=15.0),
            Variation(name="gravity", low=7.0, high=13.0),
            # CartPole computes these two attributes only once, from the masses and the length at construction.
            Variation(name="total_mass", distribution=Distribution.SUM, values=("masspole", "masscart")),
            Variation(name="polemass_length", distribution=Distribution.PRODUCT, values=("masspole", "length")),
        ),
        episodes_per_trial=3,
        max_episode_steps=200,
        reference_return=600.0,
        reference_source="the maximum: 3 episodes of 200 steps with reward 1",
    )


def _acrobot() -> FamilySpec:
    # The original torque is 1. With it random actions almost never reach the height in 300 steps.
    torques = tuple([-torque, 0.0, torque] for torque in (1.5, 2.0, 2.5, 3.0))
    return FamilySpec(
        name="acrobot",
        source=FamilySource.GYMNASIUM,
        entry="Acrobot-v1",
        variations=(
            Variation(name="LINK_LENGTH_1", low=0.75, high=1.25),
            Variation(name="LINK_MASS_1", low=0.75, high=1.25),
            Variation(name="LINK_MASS_2", low=0.75, high=1.25),
            Variation(name="LINK_COM_POS_1", low=0.4, high=0.6),
            Variation(name="LINK_COM_POS_2", low=0.4, high=0.6),
            Variation(name="LINK_MOI", low=0.75, high=1.25),
            Variation(name="AVAIL_TORQUE", distribution=Distribution.CHOICE, values=torques),
        ),
        episodes_per_trial=2,
        max_episode_steps=300,
        reference_return=-87.4,
        reference_source="energy pumping (full torque against the first joint's speed), measured on 600 tasks (±1.2)",
    )


def _frozenlake() -> FamilySpec:
    return FamilySpec(
        name="frozenlake",
        source=FamilySource.GYMNASIUM,
        entry="FrozenLake-v1",
        kwargs={"is_slippery": False},
        variations=(
            Variation(
                name="desc",
                target=VariationTarget.KWARG,
                distribution=Distribution.FROZEN_LAKE_MAP,
                options={"size": 4, "p": 0.8},
            ),
        ),
        # The map is not observed. Without slipping, knowledge of the map from one episode helps in every later one.
        episodes_per_trial=8,
        max_episode_steps=30,
        reference_return=7.0,
        reference_source="optimistic search: the shortest way over cells not known to be holes, on 600 maps (±0.04)",
    )


def _pendulum() -> FamilySpec:
    return FamilySpec(
        name="pendulum",
        source=FamilySource.GYMNASIUM,
        entry="Pendulum-v1",
        variations=(
            Variation(name="g", low=7.0, high=13.0),
            Variation(name="m", low=0.75, high=1.25),
            Variation(name="l", low=0.75, high=1.25),
        ),
        episodes_per_trial=2,
        max_episode_steps=200,
        reference_return=-266.0,
        reference_source="value iteration with each task's physics known, measured on 60 tasks (±12)",
    )
