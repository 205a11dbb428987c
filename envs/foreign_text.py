"""Reading of JSON and TOML that learnd did not write: the command line, files of users, and downloaded files.

The parsers of the standard library raise other errors than their own for deep nesting and for numbers of thousands of
digits. The functions of this module raise only the errors of the parsers.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any

MOST_LEVELS = 64
"""Levels of nesting. Copying or writing a value takes several calls for each level, and Python limits their number."""

_TOO_DEEP = f"it is nested more than {MOST_LEVELS} levels deep"


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        json.JSONDecodeError: the text is not JSON, is nested too deeply, or has a number of too many digits.
    """
    shown = text if isinstance(text, str) else text.decode("utf-8", errors="replace")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("it is not UTF-8", shown, 0) from error
    except RecursionError as error:
        raise json.JSONDecodeError(_TOO_DEEP, shown, 0) from error
    except ValueError as error:
        raise json.JSONDecodeError("it has a number of too many digits", shown, 0) from error
    if is_too_deep(value):
        raise json.JSONDecodeError(_TOO_DEEP, shown, 0)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """Return the values of a TOML text.

    Raises:
        tomllib.TOMLDecodeError: the text is not TOML, is nested too deeply, or has a number of too many digits.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError as error:
        raise tomllib.TOMLDecodeError(_TOO_DEEP) from error
    except ValueError as error:
        raise tomllib.TOMLDecodeError("it has a number of too many digits") from error
    if is_too_deep(values):
        raise tomllib.TOMLDecodeError(_TOO_DEEP)
    return values


def is_too_deep(value: object) -> bool:
    """Return whether lists and objects are nested more than ``MOST_LEVELS`` levels deep."""
    level, inner = 0, [value]
    while inner := [part for outer in inner for part in _parts(outer)]:
        level += 1
        if level > MOST_LEVELS:
            return True
    return False


def _parts(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
