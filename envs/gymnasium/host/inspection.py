"""Checks of what one reset or step returned against the environment's spaces and Gymnasium's interface."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .contexts import context_digest
from .faults import summary
from .places import index_text
from .spaces import NUMBER_KINDS, shared_properties
from .tasks import FLAG_CLASSES, REWARD_CLASSES

FLOAT32_MAX = float(np.finfo(np.float32).max)


class BrokenResultError(Exception):
    """A result of a form with which the environment cannot be checked further; the finding is already noted."""


class Findings:
    """The contract faults that were found: for each kind the first one, and how often it was found."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, Any]] = {}

    def note(self, kind: str, call: str, found: str) -> None:
        """Note a fault of a kind in a call (``reset``, ``step`` or ``close``)."""
        first = self._found.setdefault(kind, {"kind": kind, "call": call, "found": found[:1000], "count": 0})
        first["count"] += 1

    def has(self, kind: str) -> bool:
        """Return whether a fault of this kind was found."""
        return kind in self._found

    def to_json(self) -> list[dict[str, Any]]:
        """Return the findings in the order in which they were found."""
        return list(self._found.values())


class Inspector:
    """Checks of the results of one environment.

    Args:
        env: the environment, for its spaces.
        findings: takes the faults.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], findings: Findings) -> None:
        self._env = env
        self._space = env.observation_space
        self._findings = findings

    def inspect_reset(self, answer: Any) -> tuple[Any, Any]:
        """Check what ``reset`` returned, and return observation and info.

        Raises:
            BrokenResultError: it is not (observation, info).
        """
        if not isinstance(answer, tuple) or len(answer) != 2:
            kind, found = "reset_result", f"reset should return (observation, info), but it returned {summary(answer)}."
            if isinstance(answer, tuple) and len(answer) > 2 and is_number(answer[1]):
                kind, found = (
                    "reward_on_reset",
                    (
                        f"reset returned {len(answer)} values with a reward, {answer[1]!r}, in the second place; it "
                        "should return (observation, info)."
                    ),
                )
            self._findings.note(kind, "reset", found)
            raise BrokenResultError
        observation, info = answer
        if is_number(info):
            found = f"reset returned a number, {info!r}, where info belongs: a reset gives no reward."
            self._findings.note("reward_on_reset", "reset", found)
        elif not isinstance(info, dict):
            self._findings.note("info_not_dict", "reset", f"info should be a dict, but it is {summary(info)}.")
        elif info.get("context") is not None and context_digest(info) is None:
            found = f"info['context'] cannot identify the task: it is {summary(info['context'])}."
            self._findings.note("context_unused", "reset", found)
        self._inspect_observation(observation, "reset")
        return observation, info

    def inspect_step(self, answer: Any) -> tuple[Any, Any, bool, bool, Any]:
        """Check what ``step`` returned, and return its five values.

        Raises:
            BrokenResultError: it is not (observation, reward, terminated, truncated, info).
        """
        if not isinstance(answer, tuple) or len(answer) != 5:
            kind, found = "step_result", f"step should return 5 values, but it returned {summary(answer)}."
            if isinstance(answer, tuple) and len(answer) == 4:
                kind, found = (
                    "old_interface",
                    (
                        "step returned 4 values, as in the old gym interface: `truncated` is missing. It should return "
                        "(observation, reward, terminated, truncated, info)."
                    ),
                )
            self._findings.note(kind, "step", found)
            raise BrokenResultError
        observation, reward, terminated, truncated, info = answer
        self._inspect_observation(observation, "step")
        self._inspect_reward(reward)
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if flag.__class__ not in FLAG_CLASSES:
                found = f"{name} should be True or False, but it is {summary(flag)}."
                self._findings.note("flag_not_bool", "step", found)
                raise BrokenResultError
        if not isinstance(info, dict):
            self._findings.note("info_not_dict", "step", f"info should be a dict, but it is {summary(info)}.")
        elif terminated and not truncated and info.get("TimeLimit.truncated"):
            found = 'the episode ended by its time limit (info["TimeLimit.truncated"]) with terminated=True.'
            self._findings.note("truncation_missing", "step", found)
        return observation, reward, bool(terminated), bool(truncated), info

    def inspect_spaces(self, made_with: tuple[Any, Any]) -> None:
        """Check after a reset that the spaces are those with which the environment was made.

        The bounds of observations are not compared, because nothing is computed from them.
        """
        for name, before, with_bounds in zip(("observation", "action"), made_with, (False, True), strict=True):
            present = getattr(self._env, f"{name}_space")
            if present is before or present == before:
                continue
            properties = [shared_properties(space, name, with_bounds=with_bounds) for space in (present, before)]
            if properties[0] != properties[1]:
                found = f"reset changed the {name} space from {before} to {present}."
                self._findings.note("space_changed", "reset", found)

    def _inspect_observation(self, observation: Any, call: str) -> None:
        faults = list(observation_faults(self._space, observation, "observation"))
        for kind, found in faults:
            self._findings.note(kind, call, found)
        if any(kind == "malformed_observation" for kind, _ in faults):
            raise BrokenResultError

    def _inspect_reward(self, reward: Any) -> None:
        if isinstance(reward, int) and not -FLOAT32_MAX <= reward <= FLOAT32_MAX:
            self._findings.note("not_finite", "step", "reward is an integer beyond the range of float32.")
            raise BrokenResultError
        array = np.asarray(reward) if not isinstance(reward, (dict, list, tuple, str, type(None))) else None
        if array is None or array.ndim or array.dtype.kind not in NUMBER_KINDS:
            self._findings.note("malformed_reward", "step", f"reward should be a number, but it is {summary(reward)}.")
            raise BrokenResultError
        if reward.__class__ not in REWARD_CLASSES:
            self._findings.note("unusual_reward", "step", f"reward should be a float, but it is {summary(reward)}.")
        if not abs(float(array)) <= FLOAT32_MAX:
            beyond = " and beyond the range of float32, ±3.4e38" if math.isfinite(float(array)) else ""
            self._findings.note("not_finite", "step", f"reward is {float(array)}{beyond}.")


def observation_faults(space: spaces.Space[Any], value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, what was found) for each fault of an observation, or of a part of one."""
    if isinstance(space, spaces.Box):
        yield from _array_faults(space, value, name)
    elif isinstance(space, spaces.Discrete):
        yield from _index_faults(space, value, name)
    elif isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        yield from _choices_faults(space, value, name)
    elif isinstance(space, (spaces.Dict, spaces.Tuple)):
        yield from _composite_faults(space, value, name)
    else:
        try:
            is_inside = space.contains(value)
        except Exception:  # noqa: BLE001  (a user's own space may do anything)
            is_inside = False
        if not is_inside:
            yield "malformed_observation", f"{name} is outside its space {space}: {summary(value)}."


def _composite_faults(space: spaces.Dict | spaces.Tuple[Any], value: Any, name: str) -> Iterator[tuple[str, str]]:
    container: type[Any] = dict if isinstance(space, spaces.Dict) else tuple
    keys: list[Any] = list(space.spaces) if isinstance(space, spaces.Dict) else list(range(len(space.spaces)))
    if not isinstance(value, container) or len(value) != len(keys):
        yield "malformed_observation", f"{name} should be a {container.__name__} of {len(keys)}: {summary(value)}."
        return
    for key in keys:
        if isinstance(value, dict) and key not in value:
            yield "malformed_observation", f"{name} has no {key!r}, which its space has."
        else:
            yield from observation_faults(space[key], value[key], f"{name}[{key!r}]")


def _index_faults(space: spaces.Discrete, value: Any, name: str) -> Iterator[tuple[str, str]]:
    is_integer = isinstance(value, (int, np.integer)) or (
        isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "iu"
    )
    last = int(space.start) + int(space.n) - 1
    if not is_integer or isinstance(value, bool):
        yield "malformed_observation", f"{name} should be an integer, but it is {summary(value)}."
    elif not int(space.start) <= int(value) <= last:
        yield "malformed_observation", f"{name} should be {int(space.start)} to {last}, but it is {int(value)}."


def _choices_faults(
    space: spaces.MultiDiscrete | spaces.MultiBinary, value: Any, name: str
) -> Iterator[tuple[str, str]]:
    array = np.asarray(value)
    if array.shape != space.shape or array.dtype.kind not in "biu":
        found = f"{name} should be integers of shape {space.shape}, but it is {summary(value)}."
        yield "malformed_observation", found
        return
    low, size = (0, 2) if isinstance(space, spaces.MultiBinary) else (getattr(space, "start", 0), space.nvec)
    index = array.astype(np.int64) - np.asarray(low).astype(np.int64)
    is_outside = (index < 0) | (index >= np.asarray(size).astype(np.int64))
    if is_outside.any():
        place, count = _first(is_outside)
        found = (
            f"{_at(name, place)} is {array[place]}, which {space} does not hold ({count} of {array.size} are outside)."
        )
        yield "malformed_observation", found
    elif array.dtype != space.dtype:
        yield "wrong_dtype", f"{name} has dtype {array.dtype}, and its space has {space.dtype}."


def _array_faults(space: spaces.Box, value: Any, name: str) -> Iterator[tuple[str, str]]:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray("")
    if array.dtype.kind not in NUMBER_KINDS or array.shape != space.shape:
        found = f"{name} should be numbers of shape {space.shape}, but it is {summary(value)}."
        yield "malformed_observation", found
        return
    if not isinstance(value, (np.ndarray, np.generic)):
        yield "wrong_dtype", f"{name} should be an array of {space.dtype}, but it is a {type(value).__name__}."
    elif array.dtype != space.dtype:
        yield "wrong_dtype", f"{name} has dtype {array.dtype}, and its space has {space.dtype}."
    with np.errstate(over="ignore", invalid="ignore"):
        is_held = np.abs(array.astype(np.float64)) <= FLOAT32_MAX
        is_outside = is_held & ((array < space.low) | (array > space.high))
    if not is_held.all():
        index, count = _first(~is_held)
        found = (
            f"{_at(name, index)} is {array[index]} ({count} of its {array.size} numbers are NaN, infinite or too large)"
        )
        yield "not_finite", f"{found}."
    if is_outside.any():
        index, count = _first(is_outside)
        yield (
            "outside_space",
            (
                f"{_at(name, index)} is {array[index]}, and its bounds are {space.low[index]} to {space.high[index]} "
                f"({count} of its {array.size} numbers are outside)."
            ),
        )


def _first(faulty: Any) -> tuple[tuple[int, ...], int]:
    """Return the index of the first True of an array, and the number of them."""
    return tuple(int(number) for number in np.argwhere(faulty)[0]), int(np.count_nonzero(faulty))


def _at(name: str, index: tuple[int, ...]) -> str:
    return f"{name}[{index_text(index)}]" if index else name


def is_number(value: Any) -> bool:
    """Return whether a value is a single number, and no flag."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
