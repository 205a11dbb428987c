"""Attributes of a user's environment, set for each task."""

from __future__ import annotations

import difflib
from typing import Any

import gymnasium
import numpy as np

from .faults import SpecError


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
