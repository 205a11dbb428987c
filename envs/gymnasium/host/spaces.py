"""Descriptions of Gymnasium's spaces, and the conversion of observations to vectors."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from .bounded_spaces import (
    Part,
    bound_of,
    graph_size,
    graph_writer,
    sequence_size,
    sequence_writer,
    text_size,
    text_writer,
)
from .faults import NonsenseError, UnsupportedError, summary
from .parts import ONE_OF, named_parts, part_name

MAX_OBSERVATION_SIZE = 4096

MAX_DISCRETE_OBSERVATIONS = 65536

MAX_DISTINCT = 1024
"""Most different observations that are counted. No memory that matches vectors exactly was measured with more."""

MAX_WHOLE_NUMBERS = 8
"""Most numbers of a Box of whole numbers, as row and column of a grid, whose observations are counted."""

NUMBER_KINDS = "biuf"


def describe_observation(space: spaces.Space[Any]) -> dict[str, Any]:
    """Return the description of an observation space, as JSON values of ``envs.spaces.ObservationSpec``.

    Raises:
        UnsupportedError: the space, or a part of it, is not supported.
    """
    if isinstance(space, spaces.Discrete):
        if space.n > MAX_DISCRETE_OBSERVATIONS:
            hint = f"At most {MAX_DISCRETE_OBSERVATIONS} different observations are supported."
            raise UnsupportedError("observation space", repr(space), hint)
        return {"kind": "discrete", "size": int(space.n)}
    try:
        size = flat_size(space)
    except UnsupportedError as error:
        if not isinstance(space, spaces.Dict):
            raise
        which, part, hint = error.args
        raise UnsupportedError(which, part, hint + without_parts_hint(space)) from error
    if size == 0:
        raise UnsupportedError("observation space", repr(space), "It has no values: nothing is observed.")
    if size > MAX_OBSERVATION_SIZE:
        hint = (
            f"It has {size} values and at most {MAX_OBSERVATION_SIZE} are supported: wrap the environment so that it "
            "observes less (gymnasium.wrappers.ResizeObservation, GrayscaleObservation, or features of your own)."
        )
        raise UnsupportedError("observation space", repr(space), hint)
    number = num_distinct(space) or 0
    return {"kind": "vector", "size": size, **({"num_distinct": number} if 0 < number <= MAX_DISTINCT else {})}


def num_distinct(space: spaces.Space[Any]) -> int | None:
    """Return the number of different observations of choices and a few whole numbers; None if it is not finite.

    Args:
        space: an observation space, or a part of one.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return math.prod(map(int, space.nvec.flatten()))
    if isinstance(space, spaces.MultiBinary):
        return 1 << flat_size(space)
    if isinstance(space, spaces.Box):
        if space.dtype.kind not in "iu" or flat_size(space) > MAX_WHOLE_NUMBERS:
            return None
        bounds = zip(space.low.flatten(), space.high.flatten(), strict=True)
        return math.prod(int(high) - int(low) + 1 for low, high in bounds)
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        numbers = [num_distinct(part) for _, part in named_parts(space)]
        finite = [number for number in numbers if number is not None]
        return math.prod(finite) if len(finite) == len(numbers) else None
    return None


def flat_size(space: spaces.Space[Any], path: tuple[Any, ...] = ()) -> int:
    """Return D, the number of values of an observation.

    - Box, MultiBinary: one per number.
    - Discrete, MultiDiscrete: one per choice.
    - Dict, Tuple: those of all parts. OneOf: one per part, then those of all parts.
    - Sequence, Graph, Text: see :mod:`.bounded_spaces`.

    Args:
        space: an observation space, or a part of one.
        path: the keys that lead to the part.

    Raises:
        UnsupportedError: the space is of another kind, or has no bound.
    """
    if isinstance(space, (spaces.Box, spaces.MultiBinary)):
        return int(np.prod(space.shape, dtype=np.int64))
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    if isinstance(space, (spaces.Dict, spaces.Tuple, ONE_OF)):
        parts = sum(flat_size(part, (*path, key)) for key, part in named_parts(space))
        return parts + (len(space.spaces) if isinstance(space, ONE_OF) else 0)
    if isinstance(space, spaces.Sequence):
        bound = bound_of(space, part_name("observation space", path))
        return sequence_size(bound, flat_size(space.feature_space, (*path, "element")))
    if isinstance(space, spaces.Graph):
        bound = bound_of(space, part_name("observation space", path))
        return graph_size(bound, *_graph_parts(space, path))
    if isinstance(space, spaces.Text):
        return text_size(space)
    hint = (
        "Supported are Box, Discrete, MultiDiscrete, MultiBinary, Text, Sequence and Graph with a bound, and Dict, "
        "Tuple and OneOf of these."
    )
    raise UnsupportedError(part_name("observation space", path), repr(space), hint)


def _graph_parts(space: spaces.Graph, path: tuple[Any, ...] = ()) -> tuple[int, int | None]:
    """Return D of a node, and D of an edge or None."""
    edge = None if space.edge_space is None else flat_size(space.edge_space, (*path, "edge"))
    return flat_size(space.node_space, (*path, "node")), edge


def supported_keys(space: spaces.Dict) -> list[str]:
    """Return the keys of a Dict's parts that can be observed."""
    keys = []
    for key, part in space.spaces.items():
        with contextlib.suppress(UnsupportedError):
            flat_size(part)
            keys.append(key)
    return keys


def without_parts_hint(space: spaces.Dict) -> str:
    """Return a hint on how to leave out the unsupported parts of a Dict; an empty text if no part is supported."""
    keys = supported_keys(space)
    if not keys:
        return ""
    wrappers = f"--wrap 'FilterObservation:{json.dumps({'filter_keys': keys})}'"
    if any(type(part).__module__.startswith("minigrid.") for part in space.spaces.values()):
        wrappers = f"--wrap minigrid.wrappers:ImgObsWrapper, or {wrappers}"
    return f" Leave it out with a wrapper: {wrappers}."


def shared_properties(space: spaces.Space[Any], name: str, *, with_bounds: bool) -> dict[str, Any]:
    """Return the properties of a space that must be equal in all tasks of a family, by name.

    The bounds of observations are left out, because nothing is computed from them.
    """
    found: dict[str, Any] = {f"the kind of {name}": type(space).__name__}
    if isinstance(space, spaces.Box):
        found |= {f"the shape of {name}": space.shape, f"the dtype of {name}": str(space.dtype)}
        if with_bounds:
            found |= {
                f"the lower bound of {name}": space.low.tolist(),
                f"the upper bound of {name}": space.high.tolist(),
            }
    elif isinstance(space, spaces.Discrete):
        found |= {f"n of {name}": int(space.n), f"the start of {name}": int(space.start)}
    elif isinstance(space, spaces.MultiDiscrete):
        start = np.broadcast_to(getattr(space, "start", 0), space.nvec.shape).tolist()
        found |= {f"nvec of {name}": space.nvec.tolist(), f"the start of {name}": start}
    elif isinstance(space, spaces.Dict):
        found |= {f"the keys of {name}": list(space.spaces)}
        for key, part in space.spaces.items():
            found |= shared_properties(part, f"{name}[{key!r}]", with_bounds=with_bounds)
    elif isinstance(space, (spaces.Tuple, ONE_OF)):
        found |= {f"the number of parts of {name}": len(space.spaces)}
        for position, part in enumerate(space.spaces):
            found |= shared_properties(part, f"{name}[{position}]", with_bounds=with_bounds)
    elif isinstance(space, (spaces.Sequence, spaces.Graph, spaces.Text)):
        found |= _bounded_properties(space, name, with_bounds=with_bounds)
    else:
        found |= {f"the shape of {name}": space.shape}
    return found


def _bounded_properties(space: Any, name: str, *, with_bounds: bool) -> dict[str, Any]:
    if isinstance(space, spaces.Text):
        characters = "".join(sorted(space.character_set))
        return {f"max_length of {name}": space.max_length, f"the characters of {name}": characters}
    if isinstance(space, spaces.Sequence):
        parts = {"an element": space.feature_space}
    else:
        parts = {"a node": space.node_space, "an edge": space.edge_space}
    found: dict[str, Any] = {f"the bound of {name}": bound_of(space, name)}
    for part_of, part in parts.items():
        if part is not None:
            found |= shared_properties(part, f"{part_of} of {name}", with_bounds=with_bounds)
    return found


def flattener(space: spaces.Space[Any], name: str = "observation") -> Callable[[Any, Any], None]:
    """Return a function (observation, out [D] float32) that checks an observation and writes its values to ``out``."""
    if isinstance(space, (spaces.Box, spaces.MultiBinary)):
        return _array_flattener(tuple(space.shape), name)
    if isinstance(space, spaces.Discrete):
        return _one_hot_flattener(int(space.n), int(space.start), name)
    if isinstance(space, spaces.MultiDiscrete):
        return _one_hots_flattener(space, name)
    if isinstance(space, spaces.Text):
        return text_writer(space, name)
    if isinstance(space, spaces.Sequence):
        return sequence_writer(space, _part(space.feature_space, f"{name}[…]"), name)
    if isinstance(space, spaces.Graph):
        edge = None if space.edge_space is None else _part(space.edge_space, f"{name}.edges[…]")
        return graph_writer(space, _part(space.node_space, f"{name}.nodes[…]"), edge, name)
    if isinstance(space, ONE_OF):
        return _one_of_flattener(space, name)
    return _parts_flattener(space, name)


def _part(space: spaces.Space[Any], name: str) -> Part:
    return Part(flat_size(space), flattener(space, name))


def _parts_flattener(space: Any, name: str) -> Callable[[Any, Any], None]:
    """Return the flattener of a Dict or Tuple."""
    parts, position = [], 0
    for key, part in named_parts(space):
        size = flat_size(part)
        parts.append((key, slice(position, position + size), flattener(part, f"{name}[{key!r}]")))
        position += size
    container: type[Any] = dict if isinstance(space, spaces.Dict) else tuple

    def write(value: Any, out: Any) -> None:
        if not isinstance(value, container) or len(value) != len(parts):
            raise NonsenseError(f"{name} should be a {container.__name__} of {len(parts)}, but it is {summary(value)}.")
        for key, where, write_part in parts:
            try:
                inner = value[key]
            except KeyError:
                raise NonsenseError(f"{name} has no {key!r}, which its space has.") from None
            write_part(inner, out[where])

    return write


def _one_of_flattener(space: Any, name: str) -> Callable[[Any, Any], None]:
    """Return the flattener of a OneOf: which part it is, and the part; the numbers of the other parts are 0."""
    num_parts, position = len(space.spaces), len(space.spaces)
    parts = []
    for key, part in named_parts(space):
        size = flat_size(part)
        parts.append((slice(position, position + size), flattener(part, f"{name}[{key!r}]")))
        position += size

    def write(value: Any, out: Any) -> None:
        if not isinstance(value, tuple) or len(value) != 2:
            raise NonsenseError(f"{name} should be a pair of a part's index and value, but it is {summary(value)}.")
        index = checked_index(value[0], 0, num_parts, f"the index of {name}")
        out[:] = 0.0
        out[index] = 1.0
        where, write_part = parts[index]
        write_part(value[1], out[where])

    return write


def _array_flattener(shape: tuple[int, ...], name: str) -> Callable[[Any, Any], None]:
    def write(value: Any, out: Any) -> None:
        if value.__class__ is np.ndarray and value.shape == shape and value.dtype.kind == "f":
            out[:] = value if value.ndim == 1 else value.ravel()
            return
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise NonsenseError(f"{name} should be an array, but it is {summary(value)}.") from error
        if array.dtype.kind not in NUMBER_KINDS:
            raise NonsenseError(f"{name} should be numbers, but it is {summary(value)}.")
        if array.shape != shape:
            raise NonsenseError(f"{name} should have shape {shape}, but it is {summary(value)}.")
        out[:] = array.ravel()

    return write


def _one_hot_flattener(n: int, start: int, name: str) -> Callable[[Any, Any], None]:
    def write(value: Any, out: Any) -> None:
        out[:] = 0.0
        out[checked_index(value, start, n, name)] = 1.0

    return write


def _one_hots_flattener(space: spaces.MultiDiscrete, name: str) -> Callable[[Any, Any], None]:
    choices, shape = space.nvec.ravel().astype(np.int64), space.nvec.shape
    starts = np.broadcast_to(getattr(space, "start", 0), shape).ravel().astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(choices)[:-1]])

    def write(value: Any, out: Any) -> None:
        array = np.asarray(value)
        if array.shape != shape or array.dtype.kind not in "iu":
            raise NonsenseError(f"{name} should be integers of shape {shape}, but it is {summary(value)}.")
        # Subtracting signed from unsigned 64-bit integers would give floats.
        index = array.ravel().astype(np.int64) - starts
        if (index < 0).any() or (index >= choices).any():
            raise NonsenseError(f"{name} is outside its space {space}: {summary(value)}.")
        out[:] = 0.0
        out[offsets + index] = 1.0

    return write


def checked_index(value: Any, start: int, n: int, name: str) -> int:
    """Return the index of a Discrete space's value, counted from 0.

    Raises:
        NonsenseError: the value is not an integer of the space.
    """
    is_scalar = isinstance(value, (int, np.integer)) or (
        isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "iu"
    )
    if not is_scalar or isinstance(value, bool):
        raise NonsenseError(f"{name} should be an integer, but it is {summary(value)}.")
    index = int(value) - start
    if not 0 <= index < n:
        raise NonsenseError(f"{name} should be {start} to {start + n - 1}, but it is {int(value)}.")
    return index
