"""The program that a worker runs: B plain Gymnasium environments, stepped on request.

It is self-contained (standard library, numpy, gymnasium), so that any interpreter with those two packages can run it by
its path, and a user's own packages called ``agent``, ``envs`` or ``memory`` do not collide with learnd's. This is why
it is one file of more than 400 lines.

Requests arrive through a pipe: a line of JSON for rare requests (configure, open, begin, check), the byte ``s`` for a
step. The inputs and results of a step are arrays in shared memory:
action [B, n], active [B], observation [B, D], final_observation [B, D], reward [B], terminated [B], truncated [B],
and progress [3], which tells which copy of the environment is at work (:class:`Progress`).

``supervisor.py`` starts this program and ends the processes that it leaves behind.

When an episode ends in a step, the same step resets the environment and stores the last observation separately.
"""

from __future__ import annotations

import sys
from pathlib import Path

# This comes before all other imports: this folder's modules must not hide a user's modules of the same names.
if sys.path and sys.path[0] and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]

import atexit
import contextlib
import copy
import difflib
import enum
import faulthandler
import functools
import hashlib
import importlib
import io
import itertools
import json
import math
import mmap
import os
import random
import re
import resource
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium import spaces

MAX_OBSERVATION_SIZE = 4096
MAX_DISCRETE_OBSERVATIONS = 65536
MAX_ACTION_CHOICES = 4096
MAX_DETAIL = 16_000
MAX_CONTEXT_BYTES = 256
"""Largest size of an ``info["context"]`` that identifies a task."""

REWARD_CLASSES = frozenset({float, int, bool, np.float64, np.float32, np.int64, np.int32, np.bool_})
FLAG_CLASSES = frozenset({bool, np.bool_})
NUMBER_KINDS = "biuf"
NOTHING_YET = object()
VERSION_OF_AN_ID = re.compile(r"-v\d+$")
CHECKER_PREFIX = "\x1b[33mWARN: "
"""The start of each warning of Gymnasium's checker."""

DEPRECATIONS = (DeprecationWarning, PendingDeprecationWarning)
GENERATORS = (random.Random, np.random.Generator, np.random.RandomState)


class NonsenseError(Exception):
    """The environment returned a value that its own spaces or the Gymnasium interface do not allow."""


class UnsupportedError(Exception):
    """A space, or a part of one, has no encoder or head. Arguments: (which, the space, a hint)."""


class StartError(Exception):
    """An error for a module that cannot be found. It may be installed or mounted later, so the fault is a strike."""


class SpecError(Exception):
    """The family's description does not fit the environment. Arguments: (what was found, a hint)."""


class EndOfRequestsError(Exception):
    """The trainer closed its end of the pipe."""


# --- spaces -----------------------------------------------------------------------------------------------------------


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


# --- environments -----------------------------------------------------------------------------------------------------


class Stage(enum.IntEnum):
    """The present operation on a copy of the environment; ``envs.gymnasium.progress`` has the same numbers."""

    MAKING = 1
    RESETTING = 2
    STEPPING = 3
    CHECKING = 4


class Progress:
    """A report of the copy that is at work, so that the trainer's time-outs limit one copy and not all of them.

    Attributes:
        cells: [3] int64, shared: row, :class:`Stage`, and a counter that grows with every copy made, reset or checked.
    """

    def __init__(self, cells: Any) -> None:
        self.cells = cells

    def begin(self, stage: Stage, row: int) -> None:
        """Report that an operation on a copy begins."""
        self.cells[0] = row
        self.cells[1] = stage
        self.cells[2] += 1


class Maker:
    """A factory of the family's environments, without the wrappers whose work the host does itself.

    The host counts the time limit and keeps the order of calls, so the wrappers ``TimeLimit`` and ``OrderEnforcing`` do
    not cost a call per step. The wrappers with which an environment is registered remain.
    """

    def __init__(self, configuration: dict[str, Any]) -> None:
        self._entry: str = configuration["entry"]
        self._kwargs: dict[str, Any] = configuration["kwargs"]
        self._folders: list[str] = configuration["import_paths"]
        self.spec_limit: int | None = None
        self.reward_threshold: float | None = None
        self._open_envs: list[gymnasium.Env[Any, Any]] = []
        self._make = self._maker()

    def __call__(self, kwargs: dict[str, Any]) -> gymnasium.Env[Any, Any]:
        """Return a new environment; the task's keyword arguments override the family's."""
        env = self._make(**{**self._kwargs, **kwargs})
        if not isinstance(env, gymnasium.Env):
            found = f"{self._entry!r} made a {type(env).__name__}, which is not a gymnasium.Env."
            raise SpecError(found, _not_an_environment_hint(env))
        self._open_envs.append(env)
        return env

    def close(self, env: gymnasium.Env[Any, Any]) -> None:
        """Close an environment that this factory made."""
        self._open_envs = [other for other in self._open_envs if other is not env]
        env.close()

    def close_all(self) -> None:
        """Close every open environment. Errors are ignored, because the process exits afterwards."""
        while self._open_envs:
            with contextlib.suppress(BaseException):
                self._open_envs.pop(0).close()

    def take_registered(self, env: gymnasium.Env[Any, Any]) -> None:
        """Store the registered time limit and reward threshold of an environment that a user's function made."""
        if env.spec is not None:
            self.spec_limit = self.spec_limit or env.spec.max_episode_steps
            self.reward_threshold = self.reward_threshold or env.spec.reward_threshold

    def _maker(self) -> Callable[..., Any]:
        module_name, separator, name = self._entry.partition(":")
        if separator and module_name.endswith(".py"):
            folder, _, file_name = module_name.rpartition("/")
            found = f"{module_name!r} is a file, but a module is named without '.py'."
            raise SpecError(found, f"Write {file_name.removesuffix('.py')}:{name} --path {folder or 'FOLDER'}.")
        if not separator:
            return self._from_id(self._entry)
        target: Any = import_user_module(module_name, self._folders)
        try:
            for part in name.split("."):
                target = getattr(target, part)
        except AttributeError as error:
            return self._from_id_or_misspelt(name, module_name, target, error)
        return target  # type: ignore[no-any-return]

    def _from_id_or_misspelt(
        self, name: str, module_name: str, holder: Any, error: AttributeError
    ) -> Callable[..., Any]:
        """Return what makes the id that a module registered, as in ``ale_py:ALE/Breakout-v5``.

        Raises:
            SpecError: there is no such id. A name that does not look like an id is a misspelt class or function.
        """
        try:
            return self._from_id(name)
        except SpecError:
            if "/" in name or VERSION_OF_AN_ID.search(name):
                raise
        public = [key for key, value in vars(holder).items() if callable(value) and not key.startswith("_")]
        close = difflib.get_close_matches(name.rpartition(".")[2], public, n=3)
        hint = f"Did you mean {', '.join(close)}?" if close else f"It has: {', '.join(public)[:300] or 'none'}."
        raise SpecError(f"module {module_name} has no class or function {name!r}.", hint) from error

    def _from_id(self, env_id: str) -> Callable[..., Any]:
        try:
            spec = gymnasium.spec(env_id)
        except gymnasium.error.Error as error:
            close = difflib.get_close_matches(env_id, gymnasium.registry, n=3)
            hint = f"Did you mean {', '.join(close)}?" if close else ""
            hint += " Write module:id for an environment of another package, module:Class for your own."
            raise SpecError(f"Gymnasium knows no {env_id!r} ({error}).", hint.strip()) from error
        self.spec_limit = spec.max_episode_steps
        self.reward_threshold = spec.reward_threshold
        spec.order_enforce = False

        def make(**kwargs: Any) -> gymnasium.Env[Any, Any]:
            return gymnasium.make(spec, max_episode_steps=-1, disable_env_checker=True, **kwargs)

        return make


def import_user_module(name: str, folders: list[str]) -> Any:
    """Import a module by its name.

    Raises:
        StartError: there is no such module in the folders or among the installed packages.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # The module was found, and imports another one that was not.
        faults = [fault for fault in map(folder_fault, folders) if fault]
        if faults:
            raise StartError(f"no module {error.name!r} was found: {'; '.join(faults)}.") from error
        places = f"in {', '.join(folders)} or " if folders else ""
        hint = "" if folders else " (--path FOLDER names a folder of your own)"
        found = f"there is no module {error.name!r} {places}among the packages of {sys.executable}{hint}."
        raise StartError(found) from error


def folder_fault(folder: str) -> str:
    """Return why nothing can be imported from a folder; empty if it can be read."""
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        return f"the folder {folder} does not exist"
    except NotADirectoryError:
        return f"{folder} is not a folder"
    except OSError as error:
        return f"the folder {folder} cannot be read: {error.strerror}"
    return ""


def _not_an_environment_hint(made: Any) -> str:
    if made is None:
        return "A function that is named as module:function must return the environment that it makes."
    if isinstance(made, gymnasium.vector.VectorEnv):
        return "Name a single environment: learnd itself makes and steps several copies."
    return "Environments of the old gym package must be ported to gymnasium."


def set_attributes(env: gymnasium.Env[Any, Any], attributes: dict[str, Any]) -> None:
    """Set a task's values on the unwrapped environment."""
    unwrapped = env.unwrapped
    for name, value in attributes.items():
        # A copy, because an environment may write into its attributes.
        setattr(unwrapped, name, value.copy() if isinstance(value, (np.ndarray, list)) else value)


def fitting_attributes(env: gymnasium.Env[Any, Any], attributes: dict[str, Any]) -> dict[str, Any]:
    """Return a task's values in the types of the environment's attributes.

    Raises:
        SpecError: the environment has no such attribute.
    """
    fitted = {}
    for name, value in attributes.items():
        if not hasattr(env.unwrapped, name):
            numbers = [key for key in dir(env.unwrapped) if not key.startswith("_") and _is_number(env.unwrapped, key)]
            close = difflib.get_close_matches(name, numbers, n=3)
            hint = f"Did you mean {', '.join(close)}?" if close else f"Its numbers are: {', '.join(numbers)[:300]}."
            raise SpecError(f"the environment has no attribute {name!r} to vary.", hint)
        present = getattr(env.unwrapped, name)
        if isinstance(present, np.ndarray):
            value = np.asarray(value, dtype=present.dtype)  # noqa: PLW2901
        elif isinstance(present, tuple) and isinstance(value, list):
            value = tuple(value)  # noqa: PLW2901
        fitted[name] = value
    return fitted


def _is_number(holder: Any, key: str) -> bool:
    try:
        return isinstance(getattr(holder, key), (int, float)) and not isinstance(getattr(holder, key), bool)
    except Exception:  # noqa: BLE001  (a property of a user's class may do anything)
        return False


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values of an attribute are equal, floats within rounding."""
    try:
        if np.shape(one) != np.shape(other):
            return False
        if np.asarray(one).dtype.kind == "f" or np.asarray(other).dtype.kind == "f":
            return bool(np.allclose(one, other, rtol=1e-5, atol=0.0, equal_nan=True))
        return bool(np.all(np.asarray(one == other)))
    except (TypeError, ValueError):
        return False


class SharedGenerators:
    """The random generators, other than the global ones, that copies of an environment may share.

    These are the generators of spaces that belong to a class, and those that are class attributes or module globals in
    the environment's package.

    Args:
        envs: the copies.
    """

    def __init__(self, envs: list[gymnasium.Env[Any, Any]]) -> None:
        holders: dict[int, Any] = {}
        for env in envs:
            layer: Any = env
            while layer is not None:
                for space in (layer.observation_space, layer.action_space):
                    holders |= {id(part): part for part in parts_of(space)}
                holders |= {id(holder): holder for holder in _holders_of(type(layer))}
                layer = getattr(layer, "env", None) if isinstance(layer, gymnasium.Wrapper) else None
        self._slots = [
            (holder, name, copy.deepcopy(value))
            for holder in holders.values()
            for name, value in list(vars(holder).items())
            if (isinstance(value, GENERATORS) and not isinstance(value, random.SystemRandom))
            or (isinstance(holder, spaces.Space) and name == "_np_random")
        ]

    def originals(self) -> list[Any]:
        """Return copies of the generators in the state in which they were found."""
        return [copy.deepcopy(original) for _, _, original in self._slots]

    def take(self, generators: list[Any]) -> None:
        """Put the given generators in the places of the found ones."""
        for (holder, name, _), generator in zip(self._slots, generators, strict=True):
            setattr(holder, name, generator)

    def keep(self) -> list[Any]:
        """Return the generators that are in these places now, because a reset may have put new ones there."""
        return [getattr(holder, name) for holder, name, _ in self._slots]


def parts_of(space: Any) -> list[Any]:
    """Return a space and all its parts, recursively."""
    inner = getattr(space, "spaces", ())
    return [
        space,
        *(part for inner_space in getattr(inner, "values", lambda: inner)() for part in parts_of(inner_space)),
    ]


def _holders_of(kind: type[Any]) -> list[Any]:
    """Return the modules of a class's package and the classes in them; nothing for a class of Gymnasium or Python."""
    package = kind.__module__.partition(".")[0]
    if package in {"gymnasium", "builtins"}:
        return []
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == package]
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return [*modules, *(found for found in classes if found.__module__.partition(".")[0] == package)]


class OwnGenerators:
    """One row's own state of all random generators that copies share, global ones and others.

    Args:
        seed: seed of the global generators (``random``, ``numpy.random``, torch's).
        shared: the other generators; they begin in the state in which they were found.
    """

    def __init__(self, seed: int, shared: SharedGenerators) -> None:
        self._torch = sys.modules.get("torch")
        self._shared = shared
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        if self._torch is not None:
            self._torch.manual_seed(seed)
        shared.take(shared.originals())
        self._keep()

    def during(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that calls ``function`` with this state in the shared generators and stores it again."""

        def called(*args: Any, **kwargs: Any) -> Any:
            self._take()
            try:
                return function(*args, **kwargs)
            finally:
                self._keep()

        return called

    def _take(self) -> None:
        random.setstate(self._random)
        np.random.set_state(self._numpy)  # noqa: NPY002
        if self._torch is not None:
            self._torch.set_rng_state(self._torch_state)
        self._shared.take(self._others)

    def _keep(self) -> None:
        self._random = random.getstate()
        self._numpy = np.random.get_state()  # noqa: NPY002
        if self._torch is not None:
            self._torch_state = self._torch.get_rng_state()
        self._others = self._shared.keep()


def context_digest(info: Any) -> str | None:
    """Return the digest of the ``info["context"]`` of a reset, as hexadecimal digits; None if it identifies no task.

    A context is a text, a number, or an array, list or tuple of numbers, of at most ``MAX_CONTEXT_BYTES`` bytes. Equal
    numbers of different types have equal digests if both are integers or booleans, or if both are floats.
    """
    context = info.get("context") if isinstance(info, dict) else None
    content = None
    if isinstance(context, str):
        text = context.encode(errors="surrogatepass")
        content = b"text" + text if len(text) <= MAX_CONTEXT_BYTES else None
    elif isinstance(context, (bool, int, float, np.generic, np.ndarray)) or (
        isinstance(context, (list, tuple)) and len(context) <= MAX_CONTEXT_BYTES
    ):
        content = _numbers_of_context(context)
    return None if content is None else hashlib.blake2b(content, digest_size=16, person=b"context").hexdigest()


def _numbers_of_context(context: Any) -> bytes | None:
    """Return the numbers of a context as bytes; None if it holds something else or too much."""
    try:
        array = np.asarray(context)
        if array.dtype.kind not in NUMBER_KINDS or array.nbytes > MAX_CONTEXT_BYTES:
            return None
        wide = array.astype("<f8" if array.dtype.kind == "f" else "<i8")
    except (ValueError, TypeError, OverflowError):
        return None
    return wide.dtype.str.encode() + repr(array.shape).encode() + (wide + 0).tobytes()  # -0.0 becomes 0.0


class Tasks:
    """A set of B running tasks: their environments and the shared arrays of actions and results."""

    def __init__(self, maker: Maker, env: gymnasium.Env[Any, Any], configuration: dict[str, Any]) -> None:
        self._maker = maker
        self._envs = [env]
        self._shared_generators: SharedGenerators | None = None
        self.progress = Progress([0, 0, 0])
        self.limit: int | None = configuration["max_episode_steps"]
        if not self.limit:
            self.limit = maker.spec_limit
        self._observation_space = env.observation_space
        self._action_space = env.action_space
        self._first_spaces = {
            "observation": (str(env.observation_space), self._properties(env, "observation")),
            "action": (str(env.action_space), self._properties(env, "action")),
        }
        self._is_index = isinstance(env.observation_space, spaces.Discrete)
        self._write = None if self._is_index else flattener(env.observation_space)
        self._row_lengths = frozenset({flat_size(env.observation_space)})

    def open(self, memory: mmap.mmap, num_tasks: int, layout: dict[str, list[Any]]) -> None:
        """Create the arrays over the shared memory.

        Args:
            memory: the shared memory.
            num_tasks: B.
            layout: name → [offset, dtype, shape] of each array.
        """
        arrays = {
            name: np.frombuffer(memory, dtype=dtype, count=math.prod(shape), offset=offset).reshape(shape)
            for name, (offset, dtype, shape) in layout.items()
        }
        self._num_tasks = num_tasks
        self.progress.cells = memoryview(memory)[layout["progress"][0] :][: 3 * 8].cast("q")
        self._action, self._active = arrays["action"], arrays["active"]
        self._observation, self._final_observation = arrays["observation"], arrays["final_observation"]
        self._reward, self._terminated, self._truncated = arrays["reward"], arrays["terminated"], arrays["truncated"]
        self.has_ends = False

    def begin(self, tasks: list[dict[str, Any]], *, own_generators: bool = False) -> None:
        """Reset every environment to its task. If a task has keyword arguments, make new environments.

        Args:
            tasks: at most B tasks; the remaining rows have no task.
            own_generators: give each row its own state of the random generators that copies share, so that drawing in
                one row does not change the values drawn in another.
        """
        seeds = [task["seed"] for task in tasks]
        # With this, environments that draw from the global generators replay too.
        random.seed(seeds[0])
        np.random.seed(seeds[0])  # noqa: NPY002
        self._make_envs([task["kwargs"] for task in tasks])
        begun = self._envs[: len(tasks)]
        self._steps: list[Callable[..., Any]] = [env.step for env in begun]
        self._resets: list[Callable[..., Any]] = [env.reset for env in begun]
        if own_generators:
            if self._shared_generators is None:
                self._shared_generators = SharedGenerators(begun)
            generators = [OwnGenerators(seed, self._shared_generators) for seed in seeds]
            self._steps = [own.during(step) for own, step in zip(generators, self._steps, strict=True)]
            self._resets = [own.during(reset) for own, reset in zip(generators, self._resets, strict=True)]
        self._options = [task["reset_options"] or None for task in tasks]
        self.contexts: list[str | None] = [None] * len(tasks)
        self._labels = [task.get("label", f"the task in row {row}") for row, task in enumerate(tasks)]
        self._checked_spaces: list[tuple[Any, Any]] = [(None, None)] * len(tasks)
        self._attributes = [fitting_attributes(env, task["attributes"]) for env, task in zip(begun, tasks, strict=True)]
        self._clock = 0
        self._ends_at = [self.limit] * self._num_tasks
        self._terminated[:] = False
        self._truncated[:] = False
        self._reward[:] = 0.0
        self._active_bytes = b""
        self._final_observation[:] = 0.0
        first = []
        for row, seed in enumerate(seeds):
            first.append(self._reset(row, seed))
            self._put(row, first[row], self._observation)
        self._is_joinable = self._are_vectors_apart(first)
        self._check_finite(self._observation, "observation")

    def begin_row(self, row: int, task: dict[str, Any]) -> None:
        """Begin another task in one row, while the other rows go on.

        The global random generators keep their states, because the other rows draw from them too.

        Args:
            row: a row in which a task was begun before.
            task: the new task. If it has keyword arguments, the row gets a new environment.
        """
        if task["kwargs"]:
            self.progress.begin(Stage.RESETTING, row)
            self._maker.close(self._envs[row])
            self.progress.begin(Stage.MAKING, row)
            self._envs[row] = self._maker(task["kwargs"])
            self._is_joinable = False  # the observations of the new environment may overlap with those of another
        env = self._envs[row]
        self._steps[row], self._resets[row] = env.step, env.reset
        self._options[row], self._labels[row] = task["reset_options"] or None, task["label"]
        self._attributes[row] = fitting_attributes(env, task["attributes"])
        self._ends_at[row] = None if self.limit is None else self._clock + self.limit
        self._put(row, self._reset(row, task["seed"]), self._observation)
        self._check_finite(self._observation, "observation")

    def _are_vectors_apart(self, observations: list[Any]) -> bool:
        """Return whether all rows can be copied in one call after all have stepped.

        This needs vectors of which no two overlap in memory.
        """
        space = self._observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            return False
        if not all(isinstance(array, np.ndarray) and array.flags.c_contiguous for array in observations):
            return False
        ranges = sorted((array.ctypes.data, array.ctypes.data + array.nbytes) for array in observations)
        return all(before[1] <= after[0] for before, after in itertools.pairwise(ranges))

    def _make_envs(self, kwargs: list[dict[str, Any]]) -> None:
        if any(kwargs):
            for row, env in enumerate(self._envs):
                self.progress.begin(Stage.RESETTING, row)
                self._maker.close(env)
            self._envs = []
        while len(self._envs) < len(kwargs):
            row = len(self._envs)
            self.progress.begin(Stage.MAKING, row)
            self._envs.append(self._maker(kwargs[row]))

    @staticmethod
    def _properties(env: gymnasium.Env[Any, Any], name: str) -> dict[str, Any]:
        if name == "observation":
            return shared_properties(env.observation_space, "observation", with_bounds=False)
        return shared_properties(env.action_space, "action", with_bounds=True)

    def _check_spaces(self, row: int) -> None:
        """Raise if a task's spaces differ from those of the family's first task.

        Raises:
            SpecError: a property of a space differs.
        """
        env = self._envs[row]
        for name, (first, admitted) in self._first_spaces.items():
            present = self._properties(env, name)
            if present == admitted:
                continue
            differing = next(key for key in {**admitted, **present} if present.get(key) != admitted.get(key))
            found = (
                f"{self._labels[row]} has the {name} space {getattr(env, f'{name}_space')}, but the first task "
                f"has {first}: {differing} is {present.get(differing)}, and it was {admitted.get(differing)}."
            )
            hint = (
                "All tasks of a family share their spaces: vary something else, or wrap the environment so that "
                "its spaces stay equal (gymnasium.wrappers.RescaleAction does so for bounds of actions)."
            )
            raise SpecError(found[:1500], hint)
        self._checked_spaces[row] = (env.observation_space, env.action_space)

    def _reset(self, row: int, seed: int | None) -> Any:
        env = self._envs[row]
        self.progress.begin(Stage.RESETTING, row)
        if self._attributes[row]:
            set_attributes(env, self._attributes[row])
        answer: Any = self._resets[row](seed=seed, options=self._options[row])
        self.progress.begin(Stage.STEPPING, row)
        checked_observation, checked_action = self._checked_spaces[row]
        if (
            seed is not None
            or env.observation_space is not checked_observation
            or env.action_space is not checked_action
        ):
            self._check_spaces(row)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise NonsenseError(f"reset should return (observation, info), but it returned {summary(answer)}.")
        if seed is not None:
            self.contexts[row] = context_digest(answer[1])
        return answer[0]

    def undone(self) -> dict[str, list[str]]:
        """Return the varied attributes whose value is not the task's: name → [drawn value, present value].

        A value that the environment converts to its own form when it is set counts as the task's value.
        """
        found: dict[str, list[str]] = {}
        for env, attributes in zip(self._envs, self._attributes, strict=False):
            for name, drawn in attributes.items():
                present = getattr(env.unwrapped, name)
                if is_same(present, drawn):
                    continue
                set_attributes(env, {name: drawn})
                if not is_same(present, getattr(env.unwrapped, name)):
                    found.setdefault(name, [repr(drawn)[:100], repr(present)[:100]])
        return found

    def step(self) -> None:
        """Step every active environment once."""
        if self.has_ends:
            self._terminated[:] = False
            self._truncated[:] = False
            self.has_ends = False
        self._clock = clock = self._clock + 1
        active_bytes = self._active.tobytes()
        if active_bytes != self._active_bytes:
            self._active_bytes = active_bytes
            self._rows = np.flatnonzero(self._active).tolist()
            self._reward[:] = 0.0
        observations, rewards = self._step_rows(clock, self._actions())
        self._put_rewards(rewards)
        self._put_observations(observations)

    def _step_rows(self, clock: int, actions: list[Any]) -> tuple[list[Any], list[Any]]:
        """Step the active rows and return their observations and rewards.

        The trainer waits for this loop, so results are checked and copied afterwards, for all rows at once.
        """
        steps, ends_at, progress = self._steps, self._ends_at, self.progress.cells
        observations: list[Any] = []
        rewards: list[Any] = []
        keep_observation = observations.append if self._is_joinable else self._putter()
        keep_reward = rewards.append
        answer: Any = NOTHING_YET
        try:
            for row in self._rows:
                progress[0] = row
                answer = observation, reward, terminated, truncated, _ = steps[row](actions[row])
                keep_reward(reward)
                if terminated is not False or truncated is not False or ends_at[row] == clock:
                    observation = self._end_episode(row, observation, terminated, truncated)
                keep_observation(observation)
        except (TypeError, ValueError) as error:
            if answer is NOTHING_YET or (isinstance(answer, tuple) and len(answer) == 5):
                raise
            hint = " (4 values are the old gym interface)" if isinstance(answer, tuple) and len(answer) == 4 else ""
            found = f"step should return 5 values, but it returned {summary(answer)}{hint}."
            raise NonsenseError(found) from error
        return observations, rewards

    def _putter(self) -> Callable[[Any], None]:
        """Return a function that copies each row's observation immediately, for rows that cannot be copied together."""
        rows, put, out = iter(self._rows), self._put, self._observation

        def put_next(observation: Any) -> None:
            put(next(rows), observation, out)

        return put_next

    def _put_rewards(self, rewards: list[Any]) -> None:
        if not REWARD_CLASSES.issuperset(map(type, rewards)):
            rewards = [checked_reward(reward) for reward in rewards]
        if len(rewards) == self._num_tasks:
            self._reward[:] = rewards
        else:
            self._reward[self._rows] = rewards
        if not math.isfinite(float(np.add.reduce(self._reward))):
            self._check_finite(self._reward, "reward")

    def _put_observations(self, observations: list[Any]) -> None:
        if self._is_joinable and not self._join(observations):
            for row, observation in zip(self._rows, observations, strict=True):
                self._put(row, observation, self._observation)
        if not self._is_index and not math.isfinite(float(np.add.reduce(self._observation, axis=None))):
            self._check_finite(self._observation, "observation")
        if self.has_ends and not self._is_index:
            self._check_finite(self._final_observation, "observation")

    def _join(self, observations: list[Any]) -> bool:
        """Copy all rows' vectors in one call.

        Returns:
            False if they are not all vectors of numbers of the right length; they must then be copied one by one.
        """
        try:
            if not self._row_lengths.issuperset(map(len, observations)):
                return False
            if len(observations) == self._num_tasks:
                np.concatenate(observations, out=self._observation.reshape(-1))
            elif observations:
                self._observation[self._rows] = np.concatenate(observations).reshape(len(observations), -1)
        except (TypeError, ValueError):
            return False
        return True

    def _actions(self) -> list[Any]:
        """Return the actions in the environment's own form, as copies, because an environment may keep its actions."""
        space = self._action_space
        if isinstance(space, spaces.Discrete):
            return self._action[:, 0].tolist()  # type: ignore[no-any-return]
        return list(self._action.astype(space.dtype).reshape(self._num_tasks, *(space.shape or ())))

    def _end_episode(self, row: int, observation: Any, terminated: Any, truncated: Any) -> Any:
        """Record how the episode ended, if it did, and return the observation for the next action."""
        if terminated.__class__ not in FLAG_CLASSES or truncated.__class__ not in FLAG_CLASSES:
            name, flag = ("truncated", truncated) if isinstance(terminated, bool) else ("terminated", terminated)
            raise NonsenseError(f"{name} should be True or False, but it is {summary(flag)}.")
        if not (terminated or truncated or self._ends_at[row] == self._clock):
            return observation
        self.has_ends = True
        self._terminated[row] = bool(terminated)
        self._truncated[row] = not terminated
        self._put(row, observation, self._final_observation)
        if self.limit is not None:
            self._ends_at[row] = self._clock + self.limit
        return self._reset(row, None)

    def _put(self, row: int, observation: Any, out: Any) -> None:
        if self._write is None:
            space: Any = self._observation_space
            out[row, 0] = checked_index(observation, int(space.start), int(space.n), "observation")
        else:
            self._write(observation, out[row])

    @staticmethod
    def _check_finite(values: Any, name: str) -> None:
        if not np.isfinite(values).all():
            found = summary(values[~np.isfinite(values)])
            raise NonsenseError(f"{name} holds NaN or infinity, or a number beyond the range of float32: {found}.")


def checked_reward(reward: Any) -> float:
    """Return a reward of an unusual class as a number.

    Raises:
        NonsenseError: it is not a number.
    """
    array = np.asarray(reward)
    if array.ndim != 0 or array.dtype.kind not in NUMBER_KINDS:
        raise NonsenseError(f"reward should be a number, but it is {summary(reward)}.")
    return float(array)


def check_environment(env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """Run Gymnasium's environment checker; return its warnings and the failure that ended it, or None.

    Warnings of other packages about their own deprecation are left out: they are no faults of the environment.
    """
    from gymnasium.utils.env_checker import check_env

    failure = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gymnasium.logger.min_level = gymnasium.logger.WARN
        try:
            check_env(env, skip_render_check=True, skip_close_check=True)
        except Exception as error:  # noqa: BLE001  (the checker asserts, and runs a user's code)
            failure = in_words(error)[:1000]
    complaints = [
        str(warning.message).replace(CHECKER_PREFIX, "").replace("\x1b[0m", "")
        for warning in caught
        if str(warning.message).startswith(CHECKER_PREFIX) or not issubclass(warning.category, DEPRECATIONS)
    ]
    return {"warnings": list(dict.fromkeys(text[:500] for text in complaints))[:20], "failure": failure}


# --- numbers among the attributes -------------------------------------------------------------------------------------

MAX_NUMBERS = 32
NUMBER_STEPS = 100
HELD_STEPS = 10
NUMBERS_S = 20.0
"""Time after which no further number is tried."""


def effective_numbers(
    make: Callable[[], gymnasium.Env[Any, Any]], close: Callable[[gymnasium.Env[Any, Any]], None], factor: float
) -> dict[str, Any]:
    """Return the numbers among an environment's attributes that change what it does.

    These are the public float attributes that are neither 0 nor changed by play, that a reset keeps, and whose division
    or multiplication by the factor changes an observation, a reward or an end under the same seed and actions.

    Args:
        make: makes a copy of the environment.
        close: closes a copy.
        factor: above 1.
    """
    end = time.monotonic() + NUMBERS_S
    env = make()
    before = float_attributes(env)
    plain = _trace(env, None)
    after = float_attributes(env)
    is_replayed = _trace(env, None) == plain
    close(env)
    candidates = [name for name, value in before.items() if after.get(name) == value][:MAX_NUMBERS]
    numbers: dict[str, float] = {}
    is_whole = len(before) <= MAX_NUMBERS
    for name in candidates if is_replayed else ():
        if time.monotonic() > end:
            is_whole = False
            break
        scaled = (before[name] / factor, before[name] * factor)
        if all(_is_effective(make, close, plain, name, value) for value in scaled):
            numbers[name] = before[name]
    return {"numbers": numbers, "is_replayed": is_replayed, "is_whole": is_whole}


def float_attributes(env: gymnasium.Env[Any, Any]) -> dict[str, float]:
    """Return the public attributes of the unwrapped environment that are finite floats other than 0, by name."""
    found = {}
    for name in dir(env.unwrapped):
        if name.startswith("_"):
            continue
        with contextlib.suppress(Exception):  # a property of a user's class may do anything
            value = getattr(env.unwrapped, name)
            if isinstance(value, (float, np.floating)) and math.isfinite(value) and value != 0.0:
                found[name] = float(value)
    return found


def _is_effective(
    make: Callable[[], gymnasium.Env[Any, Any]],
    close: Callable[[gymnasium.Env[Any, Any]], None],
    plain: list[Any],
    name: str,
    value: float,
) -> bool:
    """Return whether the environment still runs with another number, keeps it, and does something else than before."""
    env = make()
    try:
        changed = _trace(env, (name, value))
        return changed != plain and is_same(getattr(env.unwrapped, name), value)
    except Exception:  # noqa: BLE001  (a user's environment may do anything with a number that it does not expect)
        return False
    finally:
        close(env)


def _trace(env: gymnasium.Env[Any, Any], changed: tuple[str, float] | None) -> list[Any]:
    """Return the results of the same random actions from the same seed, with one attribute changed.

    In every second block of ``HELD_STEPS`` steps the action stays the same: actions that change at each step hardly
    move some environments.

    Raises:
        ValueError: an observation or a reward is not finite.
    """
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    read, actions = _observation_reader(env.observation_space), copy.deepcopy(env.action_space)
    actions.seed(0)
    results: list[Any] = []
    is_over, action = True, None
    for step in range(NUMBER_STEPS):
        if is_over:
            if changed is not None:
                setattr(env.unwrapped, *changed)
            results.append(read(env.reset(seed=None if step else 0)[0]))
        if step % HELD_STEPS == 0 or (step // HELD_STEPS) % 2 == 0:
            action = actions.sample()
        observation, reward, terminated, truncated, _ = env.step(action)
        if not math.isfinite(reward):
            raise ValueError("the reward is not finite")
        is_over = bool(terminated or truncated)
        results.append((read(observation), float(reward), bool(terminated), bool(truncated)))
    return results


def _observation_reader(space: spaces.Space[Any]) -> Callable[[Any], bytes]:
    """Return a function that returns an observation's numbers as bytes, or raises if one is not finite."""
    if isinstance(space, spaces.Discrete):
        return lambda observation: repr(int(observation)).encode()
    write, values = flattener(space), np.zeros(flat_size(space), np.float32)

    def read(observation: Any) -> bytes:
        write(observation, values)
        if not np.isfinite(values).all():
            raise ValueError("an observation is not finite")
        return values.tobytes()

    return read


# --- requests and answers ---------------------------------------------------------------------------------------------


class Channel:
    """The two pipes to the trainer."""

    def __init__(self, request_fd: int, answer_fd: int) -> None:
        self._request_fd, self._answer_fd = request_fd, answer_fd
        self._waiting = b""

    def request(self) -> bytes:
        """Wait for the next request and return it: ``b"s"`` or a line of JSON."""
        if not self._waiting:
            self._waiting = self._read()
        if self._waiting[:1] == b"s":
            self._waiting = self._waiting[1:]
            return b"s"
        while b"\n" not in self._waiting:
            self._waiting += self._read()
        line, _, self._waiting = self._waiting.partition(b"\n")
        return line

    def _read(self) -> bytes:
        received = os.read(self._request_fd, 65536)
        if not received:
            raise EndOfRequestsError
        return received

    def stepped(self, *, has_ends: bool) -> None:
        """Report that a step is done, and whether it ended an episode."""
        os.write(self._answer_fd, b"e" if has_ends else b"s")

    def answer(self, values: dict[str, Any]) -> None:
        """Answer with a line of JSON."""
        line = json.dumps(values).encode() + b"\n"
        while line:
            line = line[os.write(self._answer_fd, line) :]


class Host:
    """The handlers of the trainer's requests."""

    def __init__(self, channel: Channel, memory_fd: int) -> None:
        self._channel = channel
        self._memory_fd = memory_fd

    def serve(self) -> None:
        """Answer requests until one fails or there are no more. Only the speed of steps matters.

        Raises:
            EndOfRequestsError: the trainer closed its end of the pipe.
        """
        request, stepped = self._channel.request, self._channel.stepped
        while True:
            line = request()
            if line == b"s":
                self._tasks.step()
                stepped(has_ends=self._tasks.has_ends)
            else:
                values = json.loads(line)
                answer = getattr(self, f"on_{values.pop('type')}")(**values)
                self._channel.answer(answer)

    def on_configure(self, configuration: dict[str, Any], first_task: dict[str, Any]) -> dict[str, Any]:
        """Apply the limits, make the first environment and return a description of it."""
        limit_process(configuration)
        sys.path[:0] = configuration["import_paths"]
        os.chdir(configuration["working_folder"])
        self._maker = Maker(configuration)
        self._configuration = configuration
        self._first_task = first_task
        env = self._maker(first_task["kwargs"])
        self._maker.take_registered(env)
        described = {
            "observation": describe_observation(env.observation_space),
            "action": describe_action(env.action_space),
        }
        fitting_attributes(env, first_task["attributes"])
        self._tasks = Tasks(self._maker, env, configuration)
        return {
            "spaces": described,
            "pid": os.getpid(),
            "max_episode_steps": self._tasks.limit,
            "reward_threshold": self._maker.reward_threshold,
        }

    def on_open(self, num_tasks: int, size: int, layout: dict[str, list[Any]]) -> dict[str, Any]:
        """Map the shared memory."""
        self._tasks.open(mmap.mmap(self._memory_fd, size), num_tasks, layout)
        os.close(self._memory_fd)
        return {}

    def on_begin(self, tasks: list[dict[str, Any]], *, own_generators: bool = False) -> dict[str, Any]:
        """Begin tasks; answer with the digests of their contexts, if any task has one."""
        self._tasks.begin(tasks, own_generators=own_generators)
        contexts = self._tasks.contexts
        return {"contexts": contexts} if any(contexts) else {}

    def on_begin_row(self, row: int, task: dict[str, Any]) -> dict[str, Any]:
        """Begin another task in one row."""
        self._tasks.begin_row(row, task)
        return {"context": self._tasks.contexts[row]}

    def on_undone(self) -> dict[str, Any]:
        """Return the varied attributes that the last resets overwrote."""
        return {"undone": self._tasks.undone()}

    def on_check(self) -> dict[str, Any]:
        """Run Gymnasium's checker on a separate environment."""
        progress = self._tasks.progress
        progress.begin(Stage.MAKING, 0)
        env = self._maker(self._first_task["kwargs"])
        set_attributes(env, fitting_attributes(env, self._first_task["attributes"]))
        report_calls(env, progress)
        checked = check_environment(env)
        self._maker.close(env)
        return checked

    def on_numbers(self, factor: float) -> dict[str, Any]:
        """Return the numbers among the environment's attributes that change what it does."""
        progress = self._tasks.progress

        def make() -> gymnasium.Env[Any, Any]:
            progress.begin(Stage.MAKING, 0)
            env = self._maker(self._first_task["kwargs"])
            report_calls(env, progress)
            return env

        return effective_numbers(make, self._maker.close, factor)

    def close(self) -> None:
        """Close the environments and run the exit handlers. Errors are ignored, because the process then exits."""
        maker = getattr(self, "_maker", None)
        if maker is not None:
            maker.close_all()
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()  # noqa: SLF001  (the only way to run them without waiting for threads)


def report_calls(env: gymnasium.Env[Any, Any], progress: Progress) -> None:
    """Wrap an environment's ``reset`` and ``step`` so that each call is reported as progress."""
    for name in ("reset", "step"):
        method = getattr(env, name)

        @functools.wraps(method)
        def reported(*args: Any, _method: Any = method, **kwargs: Any) -> Any:
            progress.begin(Stage.CHECKING, 0)
            return _method(*args, **kwargs)

        with contextlib.suppress(Exception):  # a user's own __setattr__ may do anything
            setattr(env, name, reported)


def limit_process(configuration: dict[str, Any]) -> None:
    """Limit the memory, core dumps and priority of this process."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The trainer checks resident memory at intervals; this limit stops a worker that grows faster.
    bound = configuration["data_limit_bytes"]
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard))
    os.nice(configuration["nice"])


def in_words(error: BaseException) -> str:
    """Return an error's class and message. If it may concern a relative path, add the worker's working folder."""
    text = f"{type(error).__name__}: {error}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and _is_relative(cause):
            return f"{text} (relative paths start in the worker's folder, {Path.cwd()})"
        cause = cause.__cause__ or cause.__context__
    return text


def _is_relative(error: OSError) -> bool:
    """Return whether an error concerns a file, and neither its file name nor its message has an absolute path."""
    is_of_file = isinstance(error, (FileNotFoundError, NotADirectoryError, FileExistsError, PermissionError))
    if not is_of_file and (type(error) is not OSError or error.errno is not None):
        return False
    if isinstance(error.filename, (str, bytes)):
        return not Path(os.fsdecode(error.filename)).is_absolute()
    return not any(word.strip("'\"`(").startswith("/") for word in str(error).split())


def fault(reason: str, found: str, hint: str = "") -> dict[str, Any]:
    """Return the answer that reports a failure, with the end of the traceback."""
    return {"fault": reason, "found": found[:2000], "hint": hint, "detail": traceback.format_exc()[-MAX_DETAIL:]}


def _take_every_text() -> None:
    """Let an environment print characters that the locale's encoding lacks: that must not be a fault."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def serve(host: Host, channel: Channel) -> int:
    """Answer requests until there are no more or one fails; report a failure, and return the exit status.

    Raises:
        OSError: the trainer has exited.
    """
    try:
        host.serve()
    except EndOfRequestsError:
        return 0
    except NonsenseError as error:
        channel.answer(fault("nonsense", str(error)))
    except UnsupportedError as error:
        which, space, hint = error.args
        channel.answer({"fault": "unsupported", "found": f"the {which} {space[:500]} is not supported.", "hint": hint})
    except SpecError as error:
        channel.answer(fault("spec", *error.args))
    except StartError as error:
        channel.answer(fault("raised", str(error)))
    except MemoryError as error:
        channel.answer(fault("over_memory", f"it ran out of the memory it is allowed ({str(error) or 'MemoryError'})."))
    except SystemExit as error:
        channel.answer(fault("exited", f"it called sys.exit({error.code!r})."))
    except BaseException as error:  # noqa: BLE001  (the worker's boundary: everything is reported and ends the process)
        channel.answer(fault("raised", in_words(error)))
    return 1


def main() -> NoReturn:
    """Serve the trainer over the pipes and the memory whose descriptors are the arguments."""
    request_fd, answer_fd, memory_fd = (int(argument) for argument in sys.argv[1:4])
    for fd in (request_fd, answer_fd, memory_fd):
        os.set_inheritable(fd, False)  # noqa: FBT003
    _take_every_text()
    faulthandler.enable()
    channel = Channel(request_fd, answer_fd)
    host = Host(channel, memory_fd)
    status = 1
    with contextlib.suppress(OSError):
        status = serve(host, channel)
    # The trainer waits for a limited time, so this process does not wait for the threads of a user's environment.
    host.close()
    with contextlib.suppress(Exception):
        sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
