"""Errors by which the host program tells faults of different kinds apart, and the answers that report them."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any

import numpy as np

MAX_DETAIL = 16_000


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
