"""Actions built from choices and numbers are in their space, whatever the space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from envs.gymnasium.host.actions import action_builder, action_rows, describe_action
from envs.gymnasium.host.faults import UnsupportedError
from envs.random_actions import random_actions
from envs.spaces import ActionKind, ActionSpec
from tests.envs.gymnasium.host.some_spaces import action_spaces


def described(space: spaces.Space[Any]) -> ActionSpec:
    values = describe_action(space)
    fields = {name: tuple(values[name]) for name in ("choices", "low", "high", "start")}
    return ActionSpec(kind=ActionKind(values["kind"]), **fields)


def built(space: spaces.Space[Any], *policy_action: float) -> Any:
    """Return the action that the environment gets for a policy's action."""
    action = np.asarray(policy_action, np.float32 if described(space).has_numbers else np.int64)
    return action_builder(space)(described(space).to_environment(action))


@given(action_spaces, st.integers(0, 2**32 - 1), st.floats(0.1, 1e6))
def test_every_action_of_a_policy_is_in_the_space(space: spaces.Space[Any], seed: int, factor: float) -> None:
    spec = described(space)
    drawn = random_actions(spec, 4, torch.Generator().manual_seed(seed)).numpy().reshape(4, -1)
    if spec.has_numbers:
        drawn[:, len(spec.choices) :] *= np.float32(factor)  # policies do not bound their numbers
    rows = spec.to_environment(drawn)
    for action in [*action_rows(space)(rows), *(action_builder(space)(row) for row in rows)]:
        assert space.contains(action), action


@given(action_spaces)
def test_the_values_of_an_action_are_as_many_as_its_description_says(space: spaces.Space[Any]) -> None:
    spec = described(space)
    assert len(spec.choices) == len(spec.start)
    assert len(spec.low) == len(spec.high)
    assert spec.width == len(spec.choices) + len(spec.low)
    assert (spec.kind is ActionKind.MIXED) == (bool(spec.choices) and bool(spec.low))


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (spaces.Discrete(3, start=-2), ("discrete", (3,), (-2,), ())),
        (spaces.MultiBinary(3), ("multi_discrete", (2, 2, 2), (0, 0, 0), ())),
        (spaces.Box(-3, 4, (2,), np.int8), ("multi_discrete", (8, 8), (-3, -3), ())),
        (spaces.Box(0, 255, (2,), np.uint8), ("continuous", (), (), (0.0, 0.0))),
        (spaces.Box(np.array([0, -9]), np.array([1, 90]), dtype=np.int32), ("mixed", (2,), (0,), (-9.0,))),
        (spaces.Box(-(2**63), 2**63 - 1, (1,), np.int64), ("continuous", (), (), (-np.inf,))),
        (spaces.Tuple((spaces.Box(0, 1), spaces.Discrete(4, start=1))), ("mixed", (4,), (1,), (0.0,))),
        (spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Discrete(3)}), ("multi_discrete", (3, 2), (0, 0), ())),
        (spaces.OneOf((spaces.Discrete(2), spaces.Discrete(3))), ("multi_discrete", (2, 2, 3), (0, 0, 0), ())),
    ],
    ids=str,
)
def test_an_action_is_described_as_choices_and_numbers(space: spaces.Space[Any], expected: tuple[Any, ...]) -> None:
    spec = described(space)
    assert (spec.kind, spec.choices, spec.start, spec.low) == expected


def test_an_action_has_the_structure_of_its_space() -> None:
    gears = spaces.Dict({"gear": spaces.Discrete(4, start=-1), "steer": spaces.Box(-2, 2, (1, 2))})
    action = built(spaces.Tuple((spaces.MultiBinary(2), gears)), 1, 0, 3, 0.5, -1.0)
    assert isinstance(action, tuple)
    assert action[0].tolist() == [1, 0]
    assert action[1]["gear"] == 2
    assert type(action[1]["gear"]) is int
    assert action[1]["steer"].tolist() == [[1.0, -2.0]]


def test_integers_of_a_large_range_are_rounded_and_bounded() -> None:
    space = spaces.Box(0, 100, (3,), np.int16)
    assert built(space, 0.013, -7.0, 1.0).tolist() == [51, 0, 100]


def test_one_of_several_parts_is_chosen() -> None:
    space = spaces.OneOf((spaces.Discrete(2), spaces.Box(0, 10, (1,))))
    assert built(space, 0, 1, 0.0) == (0, 1)
    index, number = built(space, 1, 1, 0.0)
    assert (index, number.tolist()) == (1, [5.0])


def test_actions_share_no_memory_with_the_row_that_they_were_built_from() -> None:
    space = spaces.Box(-1, 1, (2,), np.float32)
    rows = np.zeros((2, 2), np.float32)
    first, second = action_rows(space)(rows)
    first[:] = 9.0
    assert not rows.any()
    assert not second.any()


@pytest.mark.parametrize(
    ("space", "which", "hint"),
    [
        (spaces.Text(3), "action space", "ActionWrapper"),
        (spaces.Dict({"say": spaces.Tuple((spaces.Text(3),))}), "part 'say'][0 of the action space,", "ActionWrapper"),
        (spaces.MultiDiscrete([5000]), "action space", "At most 4096"),
        (spaces.Tuple(()), "action space", "no values"),
    ],
    ids=str,
)
def test_another_action_space_is_refused_with_the_reason(space: spaces.Space[Any], which: str, hint: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        describe_action(space)
    assert caught.value.args[0] == which
    assert hint in caught.value.args[2]
