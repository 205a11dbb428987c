"""Checks of the values of a family file: the file, the store and the worker must hold the same ones."""

from __future__ import annotations

import json
import math
from typing import Any


def is_json(value: object) -> bool:
    """Return whether a value is the same when it has been written as JSON: it has no date, no time and no NaN."""
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except TypeError:
        return False


def is_finite(value: Any) -> bool:
    """Return whether a number is neither infinite nor a whole number beyond the range of floats."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_toml(value: object) -> bool:
    """Return whether a table of a family file can hold a JSON value: it has no null and no NaN."""
    if isinstance(value, dict):
        return all(is_toml(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return all(is_toml(inner) for inner in value)
    return value is not None and not (isinstance(value, float) and math.isnan(value))
