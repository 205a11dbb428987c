"""Tests of the actions of a check: all are in the space, whatever its type, and reach its edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from envs.gymnasium.host.actions import describe_action
from envs.gymnasium.host.check_actions import edge_actions, random_action

SPACES = [
    spaces.Box(0, 1, (2,), np.bool_),
    spaces.Box(0, 2**63, (2,), np.uint64),
    spaces.Box(0, 2**64 - 1, (2,), np.uint64),
    spaces.Box(-(2**63), 2**63 - 1, (2,), np.int64),
    spaces.Box(-128, 127, (3,), np.int8),
    spaces.Box(3, 3, (1,), np.int64),
    spaces.Box(-1, 1, (2, 2), np.float16),
    spaces.Box(np.array([-1, -np.inf], np.float32), np.array([np.inf, 2], np.float32)),
    spaces.Box(-1e308, 1e308, (1,), np.float64),
    spaces.Discrete(5, start=-3),
    spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 0], [-2, 0]]),
    spaces.MultiBinary((2, 3)),
    spaces.Dict(
        {"a": spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (1,), np.bool_))), "b": spaces.MultiBinary(2)}
    ),
]


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_the_actions_of_a_check_are_in_the_space(space: spaces.Space[Any]) -> None:
    generator = np.random.default_rng(0)
    assert describe_action(space)
    assert edge_actions(space)
    for _, action in edge_actions(space):
        assert space.contains(action)
    assert all(space.contains(random_action(space, generator)) for _ in range(50))


def test_random_actions_of_flags_have_both_values() -> None:
    generator = np.random.default_rng(0)
    drawn = [bool(random_action(spaces.Box(0, 1, (), np.bool_), generator)) for _ in range(20)]
    assert set(drawn) == {True, False}
