"""Gymnasium's checks of an environment."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium

from .faults import OutOfTimeError, in_words

CHECKER_PREFIX = "\x1b[33mWARN: "
"""The start of each warning of Gymnasium's checker."""

DEPRECATIONS = (DeprecationWarning, PendingDeprecationWarning)


def check_environment(env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """Run Gymnasium's environment checker; return its warnings, the failure that ended it or None, and ``is_whole``.

    It is not whole if the environment raised :class:`OutOfTimeError`.
    Warnings of other packages about their own deprecation are left out: they are no faults of the environment.
    """
    from gymnasium.utils.env_checker import check_env

    failure, is_whole = None, True
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gymnasium.logger.min_level = gymnasium.logger.WARN
        try:
            check_env(env, skip_render_check=True, skip_close_check=True)
        except OutOfTimeError:
            is_whole = False
        except Exception as error:  # noqa: BLE001  (the checker asserts, and runs a user's code)
            failure = in_words(error)[:1000]
    complaints = [
        str(warning.message).replace(CHECKER_PREFIX, "").replace("\x1b[0m", "")
        for warning in caught
        if str(warning.message).startswith(CHECKER_PREFIX) or not issubclass(warning.category, DEPRECATIONS)
    ]
    texts = list(dict.fromkeys(text[:500] for text in complaints))[:20]
    return {"warnings": texts, "failure": failure, "is_whole": is_whole}
