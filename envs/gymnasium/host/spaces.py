"""Descriptions of Gymnasium's spaces, and the conversion of observations to vectors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from .faults import NonsenseError, UnsupportedError

MAX_OBSERVATION_SIZE = 4096

MAX_DISCRETE_OBSERVATIONS = 65536

MAX_ACTION_CHOICES = 4096

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
    if not 1 <= size <= MAX_OBSERVATION_SIZE:
        hint = (
            f"It has {size} values and 1 to {MAX_OBSERVATION_SIZE} are supported: wrap the environment so that it "
            "observes less (gymnasium.wrappers.ResizeObservation, GrayscaleObservation, or features of your own)."
        )
        raise UnsupportedError("observation space", repr(space), hint)
    return {"kind": "vector", "size": size}


def flat_size(space: spaces.Space[Any], path: tuple[Any, ...] = ()) -> int:
    """Return D: one value per number of a Box or MultiBinary, one per choice of a Discrete or MultiDiscrete.

    Args:
        space: an observation space, or a part of one.
        path: the keys that lead to the part.

    Raises:
        UnsupportedError: the space is of another kind.
    """
    if isinstance(space, (spaces.Box, spaces.MultiBinary)):
        return int(np.prod(space.shape, dtype=np.int64))
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    if isinstance(space, spaces.Dict):
        return sum(flat_size(part, (*path, key)) for key, part in space.spaces.items())
    if isinstance(space, spaces.Tuple):
        return sum(flat_size(part, (*path, position)) for position, part in enumerate(space.spaces))
    hint = "Supported are Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of these."
    if not path:
        raise UnsupportedError("observation space", repr(space), hint)
    raise UnsupportedError(f"part {']['.join(map(repr, path))} of the observation space,", repr(space), hint)


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
    wrappers = f"gymnasium.wrappers.FilterObservation(env, {keys})"
    if any(type(part).__module__.startswith("minigrid.") for part in space.spaces.values()):
        wrappers = f"minigrid.wrappers.ImgObsWrapper(env) or {wrappers}"
    return (
        f" Leave it out with a wrapper, {wrappers}, in your own function that returns the wrapped environment, "
        "and name that function as module:function."
    )


def describe_action(space: spaces.Space[Any]) -> dict[str, Any]:
    """Return the description of an action space, as JSON values of ``envs.spaces.ActionSpec``.

    Raises:
        UnsupportedError: the space is not supported.
    """
    if isinstance(space, spaces.Discrete):
        choices, start = [int(space.n)], [int(space.start)]
    elif isinstance(space, spaces.MultiDiscrete):
        choices = [int(n) for n in space.nvec.ravel()]
        start = [int(n) for n in np.broadcast_to(getattr(space, "start", 0), space.nvec.shape).ravel()]
    elif isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating) and np.prod(space.shape) > 0:
        low, high = ([float(x) for x in bound.ravel()] for bound in (space.low, space.high))
        return {"kind": "continuous", "choices": [], "low": low, "high": high, "start": []}
    else:
        hint = "Supported are Discrete, MultiDiscrete and Box of floats: wrap the environment in an ActionWrapper."
        raise UnsupportedError("action space", repr(space), hint)
    if sum(choices) > MAX_ACTION_CHOICES:
        raise UnsupportedError("action space", repr(space), f"At most {MAX_ACTION_CHOICES} choices are supported.")
    kind = "discrete" if isinstance(space, spaces.Discrete) else "multi_discrete"
    return {"kind": kind, "choices": choices, "low": [], "high": [], "start": start}


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
    elif isinstance(space, spaces.Tuple):
        found |= {f"the number of parts of {name}": len(space.spaces)}
        for position, part in enumerate(space.spaces):
            found |= shared_properties(part, f"{name}[{position}]", with_bounds=with_bounds)
    else:
        found |= {f"the shape of {name}": space.shape}
    return found


def flattener(space: spaces.Space[Any], name: str = "observation") -> Callable[[Any, Any], None]:
    """Return a function (observation, out [D] float32) that checks an observation and writes its values to ``out``."""
    if isinstance(space, (spaces.Box, spaces.MultiBinary)):
        return _array_flattener(tuple(space.shape), name)
    if isinstance(space, spaces.Discrete):
        return _one_hot_flattener(int(space.n), int(space.start), name)
    if isinstance(space, spaces.MultiDiscrete):
        return _one_hots_flattener(space, name)
    keys: list[Any] = list(space.spaces) if isinstance(space, spaces.Dict) else list(range(len(space.spaces)))  # type: ignore[attr-defined]
    parts, position = [], 0
    for key in keys:
        part = space[key]  # type: ignore[index]
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


def summary(value: Any) -> str:
    """Return a short description of a value: its type, its shape and the start of its repr."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        kind = f"ndarray of {value.dtype} with shape {value.shape}"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  (a user's own __repr__ may do anything)
        text = "(no repr)"
    return f"{kind}: {text[:120]}"
