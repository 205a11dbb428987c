"""The search for numbers among an environment's attributes that change what it does."""

from __future__ import annotations

import contextlib
import copy
import math
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .attributes import is_same
from .faults import OutOfTimeError
from .masks import MaskReader, sample_allowed
from .observations import form_of

MAX_NUMBERS = 32

NUMBER_STEPS = 100

HELD_STEPS = 10

NUMBERS_S = 20.0
"""Time after which no further number is tried."""


def effective_numbers(
    make: Callable[[], gymnasium.Env[Any, Any]],
    close: Callable[[gymnasium.Env[Any, Any]], None],
    factor: float,
    *,
    image_size: int = 0,
) -> dict[str, Any]:
    """Return the numbers among an environment's attributes that change what it does.

    These are the public float attributes that are neither 0 nor changed by play, that a reset keeps, and whose division
    or multiplication by the factor changes an observation, a reward or an end under the same seed and actions.

    Args:
        make: makes a copy of the environment, whose calls raise :class:`OutOfTimeError` when no time is left.
        close: closes a copy.
        factor: above 1.
        image_size: the largest side of an image as it is compared; 0 flattens images to vectors.

    Returns:
        ``numbers``: name → value; ``is_replayed``, None if there was no time to find out; ``is_whole``.
    """
    trace = partial(_trace, image_size=image_size)
    end = time.monotonic() + NUMBERS_S
    found: dict[str, Any] = {"numbers": {}, "is_replayed": None, "is_whole": False}
    try:
        env = make()
        before = float_attributes(env)
        plain = trace(env, None)
        after = float_attributes(env)
        found["is_replayed"] = trace(env, None) == plain
        close(env)
        candidates = [name for name, value in before.items() if after.get(name) == value][:MAX_NUMBERS]
        for name in candidates if found["is_replayed"] else ():
            if time.monotonic() > end:
                return found
            scaled = (before[name] / factor, before[name] * factor)
            if all(_is_effective(make, close, trace, plain=plain, changed=(name, value)) for value in scaled):
                found["numbers"][name] = before[name]
    except OutOfTimeError:
        return found
    return {**found, "is_whole": len(before) <= MAX_NUMBERS}


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
    trace: Callable[[gymnasium.Env[Any, Any], tuple[str, float] | None], list[Any]],
    *,
    plain: list[Any],
    changed: tuple[str, float],
) -> bool:
    """Return whether the environment still runs with another number, keeps it, and does something else than before."""
    env = make()
    try:
        name, value = changed
        return trace(env, changed) != plain and is_same(getattr(env.unwrapped, name), value)
    except OutOfTimeError:
        raise
    except Exception:  # noqa: BLE001  (a user's environment may do anything with a number that it does not expect)
        return False
    finally:
        close(env)


def _trace(env: gymnasium.Env[Any, Any], changed: tuple[str, float] | None, *, image_size: int) -> list[Any]:
    """Return the results of the same random actions from the same seed, with one attribute changed.

    In every second block of ``HELD_STEPS`` steps the action stays the same: actions that change at each step hardly
    move some environments. Where actions are masked, it does not.

    Raises:
        ValueError: an observation or a reward is not finite.
    """
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    read, actions = _observation_reader(env.observation_space, image_size), copy.deepcopy(env.action_space)
    masks, mask = MaskReader(env.observation_space, env.action_space), None
    actions.seed(0)
    results: list[Any] = []
    is_over, action = True, None
    for step in range(NUMBER_STEPS):
        if is_over:
            if changed is not None:
                setattr(env.unwrapped, *changed)
            observation, info = env.reset(seed=None if step else 0)
            results.append(read(observation))
            mask = masks.find(observation, info)
        if step % HELD_STEPS == 0 or (step // HELD_STEPS) % 2 == 0 or mask is not None:
            action = sample_allowed(actions, masks, mask)
        observation, reward, terminated, truncated, info = env.step(action)
        mask = masks.find(observation, info)
        if not math.isfinite(reward):
            raise ValueError("the reward is not finite")
        is_over = bool(terminated or truncated)
        results.append((read(observation), float(reward), bool(terminated), bool(truncated)))
    return results


def _observation_reader(space: spaces.Space[Any], image_size: int) -> Callable[[Any], bytes]:
    """Return a function that returns an observation's values as bytes, or raises if one is not finite."""
    form = form_of(space, image_size=image_size)
    values = np.zeros(form.width, form.dtype)

    def read(observation: Any) -> bytes:
        form.write(observation, values)
        if not form.is_finite_always and not np.isfinite(values).all():
            raise ValueError("an observation is not finite")
        return values.tobytes()

    return read
