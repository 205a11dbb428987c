"""Gymnasium's checks of an environment."""

from __future__ import annotations

import traceback
import warnings
from typing import Any

import gymnasium

from .faults import in_words
from .places import code_place

CHECKER_PREFIX = "\x1b[33mWARN: "
"""The start of each warning of Gymnasium's checker."""

DEPRECATIONS = (DeprecationWarning, PendingDeprecationWarning)


def check_environment(env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """Run Gymnasium's environment checker.

    Returns:
        ``warnings``; ``failure``: the error that ended the checker, or None; ``has_crashed``: whether that is an error
        of the checker itself, which cannot compare every kind of value, and not its verdict on the environment.

    Warnings of other packages about their own deprecation are left out: they are no faults of the environment.
    """
    from gymnasium.utils.env_checker import check_env

    failure, has_crashed = None, False
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gymnasium.logger.min_level = gymnasium.logger.WARN
        try:
            check_env(env, skip_render_check=True, skip_close_check=True)
        except Exception as error:  # noqa: BLE001  (the checker asserts, and runs a user's code)
            failure, has_crashed = in_words(error)[:1000], _is_crash(error)
    complaints = [
        str(warning.message).replace(CHECKER_PREFIX, "").replace("\x1b[0m", "")
        for warning in caught
        if str(warning.message).startswith(CHECKER_PREFIX) or not issubclass(warning.category, DEPRECATIONS)
    ]
    told = list(dict.fromkeys(text[:500] for text in complaints))[:20]
    return {"warnings": told, "failure": failure, "has_crashed": has_crashed}


def _is_crash(error: Exception) -> bool:
    """Return whether neither a user's code nor a statement of the checker raised an error."""
    if isinstance(error, AssertionError) or code_place(error):
        return False
    return not (traceback.extract_tb(error.__traceback__)[-1].line or "").startswith("raise")
