"""Action masks in the forms of Gymnasium's ``sample``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from envs.gymnasium.host.faults import NonsenseError
from envs.gymnasium.host.masks import MaskReader

NUMBER = spaces.Box(-1, 1, (1,))
NESTED = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Tuple((NUMBER, spaces.MultiDiscrete([2, 3])))})


def allowed(space: spaces.Space[Any], mask: Any) -> str:
    reader = MaskReader(NUMBER, space)
    out = np.zeros(reader.num_choices, np.bool_)
    reader.write(mask, out)
    return "".join(str(int(value)) for value in out)


@pytest.mark.parametrize(
    ("space", "mask", "expected"),
    [
        (spaces.Discrete(3, start=5), np.array([1, 0, 1], np.int8), "101"),
        (spaces.Discrete(3), [True, False, False], "100"),
        (spaces.MultiDiscrete([2, 3]), (np.array([1, 0]), np.array([0, 1, 1])), "10011"),
        (spaces.MultiDiscrete([2, 3]), np.array([1, 0, 0, 1, 1]), "10011"),
        (spaces.MultiDiscrete([2, 2]), np.array([[1, 0], [0, 1]]), "1001"),
        (spaces.MultiBinary(3), np.array([0, 1, 2]), "100111"),
        (spaces.MultiBinary(2), np.array([1, 0, 1, 1]), "1011"),
        (NESTED, {"a": np.array([0, 1]), "b": (None, (np.array([1, 0]), np.array([1, 1, 0])))}, "0110110"),
        (NESTED, {"a": np.array([0, 1])}, "0111111"),
        (NESTED, np.array([0, 1, 1, 0, 1, 1, 0]), "0110110"),
        (spaces.OneOf((spaces.Discrete(2), spaces.Discrete(2))), (None, np.array([0, 1])), "111101"),
        (spaces.Box(0, 2, (1,), np.int8), np.array([0, 1, 1]), "011"),
    ],
    ids=str,
)
def test_a_mask_says_which_choices_are_allowed(space: spaces.Space[Any], mask: Any, expected: str) -> None:
    assert allowed(space, mask) == expected


@pytest.mark.parametrize(
    ("space", "mask"),
    [
        (spaces.Discrete(3), np.array([1, 0])),
        (spaces.Discrete(3), "101"),
        (spaces.MultiDiscrete([2, 3]), (np.array([1, 0]),)),
        (NESTED, (np.array([0, 1]), None)),
    ],
    ids=str,
)
def test_a_mask_that_does_not_fit_is_a_fault(space: spaces.Space[Any], mask: Any) -> None:
    with pytest.raises(NonsenseError, match="action mask does not fit the action space"):
        allowed(space, mask)


@pytest.mark.parametrize(
    ("space", "mask", "action", "is_allowed"),
    [
        (spaces.Discrete(3, start=5), np.array([1, 0, 1]), 5, True),
        (spaces.Discrete(3, start=5), np.array([1, 0, 1]), 6, False),
        (spaces.MultiDiscrete([2, 3]), (np.array([1, 0]), np.array([0, 1, 1])), np.array([0, 2]), True),
        (spaces.MultiDiscrete([2, 3]), (np.array([1, 0]), np.array([0, 1, 1])), np.array([0, 0]), False),
        (spaces.MultiBinary(3), np.array([0, 1, 2]), np.array([0, 1, 1]), True),
        (spaces.MultiBinary(3), np.array([0, 1, 2]), np.array([1, 1, 1]), False),
        (NESTED, {"a": np.array([0, 1])}, {"a": 1, "b": (np.zeros(1), np.array([0, 2]))}, True),
        (NESTED, np.array([1, 1, 1, 1, 1, 1, 0]), {"a": 1, "b": (np.zeros(1), np.array([0, 2]))}, False),
        (spaces.OneOf((spaces.Discrete(2), spaces.Discrete(2))), (None, np.array([0, 1])), (1, 0), False),
        (spaces.OneOf((spaces.Discrete(2), spaces.Discrete(2))), (None, np.array([0, 1])), (0, 0), True),
        (spaces.Box(-1, 1, (1,), np.int8), np.array([0, 1, 1]), np.array([-1], np.int8), False),
        (spaces.Box(-1, 1, (1,), np.int8), np.array([0, 1, 1]), np.array([1], np.int8), True),
        (NUMBER, np.array([0]), np.zeros(1), True),
        (spaces.Discrete(3), None, 2, True),
        (spaces.Discrete(3), np.array([0, 0]), 2, True),
    ],
    ids=str,
)
def test_an_action_is_allowed_if_the_mask_allows_each_of_its_choices_or_does_not_fit(
    space: spaces.Space[Any], mask: Any, action: Any, is_allowed: bool
) -> None:
    assert MaskReader(NUMBER, space).allows(mask, action) is is_allowed


def test_a_mask_is_found_in_the_info_before_the_observation() -> None:
    observed = spaces.Dict({"action_mask": spaces.MultiBinary(2), "number": NUMBER})
    reader = MaskReader(observed, spaces.Discrete(2))
    assert reader.find({"action_mask": "observed"}, {}) == "observed"
    assert reader.find({"action_mask": "observed"}, {"action_mask": "told"}) == "told"


@pytest.mark.parametrize("part", [spaces.MultiBinary(3), spaces.Discrete(2)], ids=str)
def test_a_part_of_the_observation_with_another_size_is_no_mask(part: spaces.Space[Any]) -> None:
    reader = MaskReader(spaces.Dict({"action_mask": part}), spaces.Discrete(2))
    assert reader.find({"action_mask": part.sample()}, {}) is None


def test_actions_without_choices_have_no_mask() -> None:
    assert MaskReader(NUMBER, NUMBER).find(0, {"action_mask": np.ones(1)}) is None
