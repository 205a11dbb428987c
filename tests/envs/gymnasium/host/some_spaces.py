"""Strategies of Gymnasium spaces, nested at random."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from hypothesis import strategies as st

small = st.integers(1, 4)
shapes = st.sampled_from([(), (1,), (3,), (2, 1), (2, 2)])
starts = st.integers(-(10**9), 10**9)


@st.composite
def multi_discretes(draw: st.DrawFn) -> spaces.Space[Any]:
    nvec = draw(st.lists(small, min_size=1, max_size=3))
    return spaces.MultiDiscrete(nvec, start=draw(st.lists(starts, min_size=len(nvec), max_size=len(nvec))))


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Space[Any]:
    shape, dtype = draw(shapes), draw(st.sampled_from([np.float16, np.float32, np.float64]))
    bounds = st.floats(-1e4, 1e4, width=16) | st.sampled_from([-np.inf, np.inf])
    low, high = sorted((draw(bounds), draw(bounds)))
    low, high = (-np.inf, np.inf) if low == high else (low, high)
    return spaces.Box(low, high, shape, dtype)


@st.composite
def integer_boxes(draw: st.DrawFn) -> spaces.Space[Any]:
    dtype = draw(st.sampled_from([np.int8, np.uint8, np.int32, np.int64, np.uint16]))
    info = np.iinfo(dtype)
    low, high = sorted(draw(st.integers(int(info.min), int(info.max))) for _ in range(2))
    if draw(st.booleans()):
        high = min(high, low + 5)
    return spaces.Box(low, high, draw(shapes), dtype)


basic = (
    st.builds(spaces.Discrete, small, start=starts)
    | multi_discretes()
    | st.sampled_from([1, 3, (2, 2)]).map(spaces.MultiBinary)
    | boxes()
    | integer_boxes()
)


def composed(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return the strategy of Tuple, Dict and OneOf of parts."""
    several = st.lists(parts, min_size=1, max_size=3)
    return (
        several.map(spaces.Tuple)
        | several.map(lambda found: spaces.Dict({f"part {index}": part for index, part in enumerate(found)}))
        | several.map(spaces.OneOf)
    )


action_spaces = st.recursive(basic, composed, max_leaves=5)


def _bounded(space: Any) -> Any:
    space.max_length = space.max_nodes = 60
    return space


def _more(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    of_few = st.builds(spaces.Discrete, small, start=starts) | boxes()
    sequences = st.builds(spaces.Sequence, parts, stack=st.booleans()).map(_bounded)
    graphs = st.builds(spaces.Graph, of_few, st.none() | of_few).map(_bounded)
    return composed(parts) | sequences | graphs


texts = st.builds(spaces.Text, st.integers(1, 5), charset=st.just("ab c"))
observation_spaces = st.recursive(basic | texts, _more, max_leaves=3)
