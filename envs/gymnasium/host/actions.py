"""Action spaces: their description as choices and numbers, and the conversion of these to actions.

A space is walked part by part. Each part gives values, of which each is a choice or a number. A policy's action has the
choices first and the numbers after them, both in the order of the walk. The worker builds the environment's own action
from such a row, with Discrete values as Python integers and others as fresh arrays of the space's own type.

| space | values |
|---|---|
| Discrete | one choice |
| MultiDiscrete, MultiBinary | one choice per element |
| Box of floats | one number per element |
| Box of integers | per element, a choice if it has few values, else a number, which is rounded |
| Tuple, Dict | the values of all parts |
| OneOf | one choice of the part, and the values of all parts, of which those of one part count |

Shapes: B rows, W values of an action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from .faults import UnsupportedError
from .parts import ONE_OF, named_parts, part_name

MAX_ACTION_CHOICES = 4096

MAX_INTEGER_CHOICES = 32
"""The largest number of values of an element of a Box of integers that are choices; more are a number."""

LARGEST_INTEGER_BOUND = 2**31 - 1
"""A bound of integers whose absolute value is not below this means that there is no bound."""


class Choice(NamedTuple):
    """A value of an action that is one of ``n`` integers, counted from ``start``."""

    n: int
    start: int


class Number(NamedTuple):
    """A value of an action that is a number within bounds."""

    low: float
    high: float


Value = Choice | Number

Build = Callable[[Any], Any]
"""A function that returns an environment's action, or a part of it, from a row of W values."""


def describe_action(space: spaces.Space[Any]) -> dict[str, Any]:
    """Return the description of an action space, as JSON values of ``envs.spaces.ActionSpec``.

    Raises:
        UnsupportedError: the space, or a part of it, is not supported.
    """
    values = action_values(space)
    choices = [value for value in values if isinstance(value, Choice)]
    numbers = [value for value in values if isinstance(value, Number)]
    if not values:
        raise UnsupportedError("action space", repr(space), "It has no values: nothing can be chosen.")
    if sum(choice.n for choice in choices) > MAX_ACTION_CHOICES:
        raise UnsupportedError("action space", repr(space), f"At most {MAX_ACTION_CHOICES} choices are supported.")
    kind = "mixed" if choices and numbers else "continuous" if numbers else "multi_discrete"
    return {
        "kind": "discrete" if isinstance(space, spaces.Discrete) else kind,
        "choices": [choice.n for choice in choices],
        "low": [number.low for number in numbers],
        "high": [number.high for number in numbers],
        "start": [choice.start for choice in choices],
    }


def action_values(space: spaces.Space[Any], path: tuple[Any, ...] = ()) -> list[Value]:
    """Return the values of an action in the order of the walk.

    Args:
        space: an action space, or a part of one.
        path: the keys that lead to the part.

    Raises:
        UnsupportedError: the space, or a part of it, is of another kind.
    """
    if isinstance(space, spaces.Discrete):
        return [Choice(int(space.n), int(space.start))]
    if isinstance(space, spaces.MultiDiscrete):
        starts = np.broadcast_to(getattr(space, "start", 0), space.nvec.shape).ravel()
        return [Choice(int(n), int(start)) for n, start in zip(space.nvec.ravel(), starts, strict=True)]
    if isinstance(space, spaces.MultiBinary):
        return [Choice(2, 0)] * int(np.prod(space.shape, dtype=np.int64))
    if isinstance(space, spaces.Box):
        bounds = zip(space.low.ravel().tolist(), space.high.ravel().tolist(), strict=True)
        is_integer = not np.issubdtype(space.dtype, np.floating)
        return [_integer(int(low), int(high)) if is_integer else Number(low, high) for low, high in bounds]
    if isinstance(space, (spaces.Dict, spaces.Tuple, ONE_OF)):
        parts = [action_values(part, (*path, key)) for key, part in named_parts(space)]
        chosen = [Choice(len(parts), 0)] if isinstance(space, ONE_OF) else []
        return [*chosen, *(value for part in parts for value in part)]
    hint = (
        "Supported are Discrete, MultiDiscrete, MultiBinary, Box, and Tuple, Dict and OneOf of these: wrap the "
        "environment in a gymnasium.ActionWrapper."
    )
    raise UnsupportedError(part_name("action space", path), repr(space), hint)


def _integer(low: int, high: int) -> Value:
    """Return the value of an element of a Box of integers."""
    if high - low < MAX_INTEGER_CHOICES:
        return Choice(high - low + 1, low)
    return Number(
        -np.inf if low <= -LARGEST_INTEGER_BOUND else float(low),
        np.inf if high >= LARGEST_INTEGER_BOUND else float(high),
    )


def action_rows(space: spaces.Space[Any]) -> Callable[[Any], list[Any]]:
    """Return a function that returns B actions from B rows of values [B, W], in the environment's own numbers.

    The actions share no memory with the rows or with each other, because an environment may keep its actions.
    """
    if isinstance(space, spaces.Discrete):
        return lambda rows: rows[:, 0].tolist()
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        return lambda rows: list(rows.astype(space.dtype).reshape(len(rows), *space.shape))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating) and space.shape:
        return lambda rows: list(_within(space, rows.reshape(len(rows), *space.shape)))
    build = action_builder(space)
    return lambda rows: [build(row) for row in rows]


def action_builder(space: spaces.Space[Any]) -> Build:
    """Return a function that returns an action from a row of W values in the environment's own numbers."""
    values = action_values(space)
    num_choices = sum(isinstance(value, Choice) for value in values)
    next_choice, next_number = iter(range(num_choices)), iter(range(num_choices, len(values)))
    places = iter([next(next_choice if isinstance(value, Choice) else next_number) for value in values])
    return _builder(space, places)


def _builder(space: Any, places: Iterator[int]) -> Build:
    """Return the builder of a part, whose values are at the next places of a row."""
    if isinstance(space, spaces.Discrete):
        place = next(places)
        return lambda row: int(row[place])
    if isinstance(space, spaces.Dict):
        by_key = [(key, _builder(part, places)) for key, part in space.spaces.items()]
        return lambda row: {key: build(row) for key, build in by_key}
    if isinstance(space, spaces.Tuple):
        builders = [_builder(part, places) for part in space.spaces]
        return lambda row: tuple(build(row) for build in builders)
    if isinstance(space, ONE_OF):
        place = next(places)
        builders = [_builder(part, places) for part in space.spaces]
        return lambda row: (int(row[place]), builders[int(row[place])](row))
    return _array_builder(space, places)


def _array_builder(space: Any, places: Iterator[int]) -> Build:
    shape, dtype = tuple(space.shape), space.dtype
    where = np.array([next(places) for _ in range(int(np.prod(shape, dtype=np.int64)))], np.int64)
    if not isinstance(space, spaces.Box):
        return lambda row: row[where].astype(dtype).reshape(shape)
    if np.issubdtype(dtype, np.floating):
        return lambda row: np.asarray(_within(space, row[where].reshape(shape)))
    low, high = space.low.ravel().tolist(), space.high.ravel().tolist()

    def build(row: Any) -> Any:
        # Python's integers are exact, and the bounds of 64-bit integers are no floats.
        rounded = (round(value) for value in row[where].tolist())
        bounded = [min(max(value, least), most) for value, least, most in zip(rounded, low, high, strict=True)]
        return np.array(bounded, dtype).reshape(shape)

    return build


def _within(space: spaces.Box, numbers: Any) -> Any:
    """Return numbers in the type of a space of floats, within its bounds; 32-bit ones were computed within them."""
    if space.dtype == np.float32:
        return numbers.astype(np.float32)
    dtype: Any = space.dtype
    range_of_type = np.finfo(dtype)  # float16 has a small one
    low, high = np.maximum(space.low, range_of_type.min), np.minimum(space.high, range_of_type.max)
    return np.clip(numbers.astype(np.float64), low, high).astype(space.dtype)
