"""Errors by which the host program tells faults of different kinds apart, and the answers that report them."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from .isolation_hints import isolation_hint

MAX_DETAIL = 16_000

MAX_MESSAGE = 700
"""Longest message of an error, so that the line of code after it is not cut off."""


class OutOfTimeError(Exception):
    """No time is left for a further call of the environment in a check."""


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
    """Return an error's class and message. If it may concern the worker's isolation or a relative path, say so."""
    message = _without_traceback(_message_of(error))
    message = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…"
    text = f"{type(error).__name__}: {message}".rstrip(": ")
    cause: BaseException | None = error
    while cause is not None:
        if (why := isolation_hint(cause)) is not None:
            return f"{text} ({why})"
        if isinstance(cause, OSError) and _is_relative(cause):
            return f"{text} (relative paths start in the worker's folder, {_working_folder()})"
        cause = cause.__cause__ or cause.__context__
    return text


def _working_folder() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return "which was deleted"


def _message_of(error: BaseException) -> str:
    """Return an error's message; a user's own error may fail to have one."""
    try:
        return str(error)
    except Exception as fault:  # noqa: BLE001  (a user's own __str__ may do anything)
        return f"(its text cannot be read: {type(fault).__name__})"


def _without_traceback(message: str) -> str:
    """Return a message without the traceback of another process in it, but with the traceback's last line."""
    before, separator, after = message.partition("Traceback (most recent call last):")
    if not separator:
        return message
    lines = after.replace("\\n", "\n").strip("'\" \n)")
    return " ".join([*before.split(), lines.rpartition("\n")[2].strip("'\" ")])


def _is_relative(error: OSError) -> bool:
    """Return whether an error concerns a file, and neither its file name nor its message has an absolute path."""
    is_of_file = isinstance(error, (FileNotFoundError, NotADirectoryError, FileExistsError, PermissionError))
    if not is_of_file and (type(error) is not OSError or error.errno is not None):
        return False
    if isinstance(error.filename, (str, bytes)):
        return not Path(os.fsdecode(error.filename)).is_absolute()
    message = _message_of(error)
    if "cannot open shared object file" in message:  # libraries are not looked for in the working folder
        return False
    return not any(word.strip("'\"`(").startswith("/") for word in message.split())


def fault(reason: str, found: str, hint: str = "", place: str = "") -> dict[str, Any]:
    """Return the answer that reports a failure, with the end of the traceback.

    Args:
        reason: the value of ``envs.errors.FaultReason``, or ``spec``.
        found: what was found.
        hint: what to do.
        place: the call, the file and the line of a user's code that was running.
    """
    detail = traceback.format_exc()[-MAX_DETAIL:]
    return {"fault": reason, "found": found[:2000], "hint": hint, "detail": detail, "place": place}


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
