"""Observations of any space become vectors of one size, without loss of what they hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.spaces import GraphInstance
from hypothesis import given
from hypothesis import strategies as st

from envs.gymnasium.host.faults import NonsenseError
from envs.gymnasium.host.spaces import MAX_DISTINCT, describe_observation, flat_size, flattener
from tests.envs.gymnasium.host.some_spaces import observation_spaces


def flat(space: spaces.Space[Any], value: Any) -> list[float]:
    out = np.full(flat_size(space), np.nan, np.float32)
    flattener(space)(value, out)
    return out.tolist()  # type: ignore[no-any-return]


def bounded(space: Any, bound: int) -> Any:
    space.max_length = space.max_nodes = bound
    return space


@given(observation_spaces, st.integers(0, 2**31 - 1))
def test_every_sample_of_a_space_fills_its_vector(space: spaces.Space[Any], seed: int) -> None:
    space.seed(seed)
    assert np.isfinite(np.float32(flat(space, space.sample()))).all()


def test_a_sequence_is_padded_and_has_a_mask() -> None:
    space = bounded(spaces.Sequence(spaces.Box(-9, 9, (2,))), 3)
    assert flat(space, (np.float32([1, 2]), np.float32([3, 4]))) == [1, 1, 0, 1, 2, 3, 4, 0, 0]
    assert flat(space, ()) == [0.0] * 9


def test_stacked_elements_are_those_of_a_tuple() -> None:
    feature = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(-9, 9, (1,))})
    plain, stacked = (bounded(spaces.Sequence(feature, stack=stack), 3) for stack in (False, True))
    elements = ({"a": 1, "b": np.float32([5])}, {"a": 0, "b": np.float32([6])})
    values = {"a": np.array([1, 0]), "b": np.float32([[5], [6]])}
    assert flat(plain, elements) == flat(stacked, values) == [1, 1, 0, 0, 1, 5, 1, 0, 6, 0, 0, 0]


def test_a_graph_has_its_nodes_and_the_edges_of_each_pair_of_nodes() -> None:
    space = bounded(spaces.Graph(spaces.Box(-9, 9, (1,)), spaces.Box(-9, 9, (1,))), 2)
    edges, links = np.float32([[5], [6]]), np.array([[0, 1], [0, 1]])
    one = GraphInstance(np.float32([[3], [4]]), edges, links)
    #                    mask  nodes  0→0   0→1    1→0   1→1
    assert flat(space, one) == [1, 1, 3, 4, 0, 0, 2, 11, 0, 0, 0, 0]
    lone = GraphInstance(np.float32([[3]]), None, None)
    assert flat(space, lone) == [1, 0, 3, 0, *[0] * 8]


def test_a_text_is_its_characters_in_their_places() -> None:
    assert flat(spaces.Text(3, charset="ab"), "ba") == [0, 1, 1, 0, 0, 0]


def test_one_of_several_parts_says_which_and_leaves_the_others_0() -> None:
    space = spaces.OneOf((spaces.Discrete(2), spaces.Box(-9, 9, (2,))))
    assert flat(space, (1, np.float32([3, 4]))) == [0, 1, 0, 0, 3, 4]
    assert flat(space, (np.int64(0), 1)) == [1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("space", "value", "words"),
    [
        (bounded(spaces.Sequence(spaces.Discrete(2)), 1), (0, 1), "2 elements, and its space allows 1"),
        (bounded(spaces.Sequence(spaces.Discrete(2)), 1), np.zeros(1), "should be a tuple"),
        (spaces.Text(2, charset="a"), "ab", "has 'b'"),
        (spaces.Text(2, charset="a"), "aaa", "3 elements"),
        (spaces.Text(2, charset="a"), 7, "should be a text"),
        (spaces.OneOf((spaces.Discrete(2),)), (1, 0), "the index of observation should be 0 to 0"),
        (spaces.OneOf((spaces.Discrete(2),)), 1, "a pair"),
        (bounded(spaces.Graph(spaces.Discrete(2), None), 1), np.zeros(1), "GraphInstance"),
        (
            bounded(spaces.Graph(spaces.Discrete(2), spaces.Discrete(2)), 2),
            GraphInstance(np.array([0]), np.array([1]), np.array([[0, 1]])),
            "names nodes outside 0 to 0",
        ),
        (
            bounded(spaces.Graph(spaces.Discrete(2), spaces.Discrete(2)), 2),
            GraphInstance(np.array([0]), np.array([1]), np.array([0, 0])),
            "1 pairs of nodes",
        ),
    ],
    ids=str,
)
def test_an_observation_outside_its_space_is_a_fault_with_the_reason(space: Any, value: Any, words: str) -> None:
    with pytest.raises(NonsenseError, match=words):
        flat(space, value)


GRID = spaces.Box(np.array([0, -2]), np.array([9, 2]), dtype=np.int64)


@pytest.mark.parametrize(
    ("space", "number"),
    [
        (spaces.MultiDiscrete([10, 10]), 100),
        (spaces.MultiDiscrete([[2, 3], [1, 5]]), 30),
        (spaces.MultiBinary(6), 64),
        (spaces.MultiBinary([2, 2]), 16),
        (spaces.Tuple([spaces.Discrete(32), spaces.Discrete(11), spaces.Discrete(2)]), 704),
        (spaces.Dict({"at": GRID, "has key": spaces.Discrete(2)}), 100),
        (GRID, 50),
        (spaces.Box(0, 31, (2,), np.uint8), MAX_DISTINCT),
    ],
    ids=str,
)
def test_different_observations_are_counted_where_few_are_possible(space: spaces.Space[Any], number: int) -> None:
    assert describe_observation(space) == {"kind": "vector", "size": flat_size(space), "num_distinct": number}


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 1, (2,)),
        spaces.Box(0, 1, (9,), np.int8),
        spaces.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (1,), np.int64),
        spaces.MultiBinary(11),
        spaces.Box(0, 32, (2,), np.uint8),
        spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1, (1,))]),
        spaces.Text(2),
        spaces.OneOf([spaces.Discrete(2), spaces.Discrete(3)]),
    ],
    ids=str,
)
def test_no_number_is_given_where_many_are_possible(space: spaces.Space[Any]) -> None:
    assert describe_observation(space) == {"kind": "vector", "size": flat_size(space)}
