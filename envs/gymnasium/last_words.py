"""The part of a dead worker's stderr that tells a user why it died."""

from __future__ import annotations

import re

MAX_CHARS = 300

_WARNING = re.compile(r"^.+:\d+: \w*Warning: .*\n?(?:^  \S.*\n?)?", re.MULTILINE)
"""A warning that Python printed, with the line of code below it."""

_CRASH = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>\S+)', re.MULTILINE)
_NOT_OF_A_USER = ("/envs/gymnasium/host/", "/envs/gymnasium/supervisor.py", "<frozen", "/gymnasium/", "/ctypes/")


def last_words(stderr: str) -> str:
    """Return the last words of a worker as one line; empty if there are none.

    They are the line of a user's code at which the interpreter crashed, or else the last line of stderr, such as the
    error that ended a traceback. Warnings are left out.

    Args:
        stderr: the end of what the worker wrote to stderr.
    """
    head, separator, dump = stderr.partition("Fatal Python error: ")
    if separator:
        return _crash_words(dump)
    lines = [line.strip() for line in _WARNING.sub("", head).splitlines() if line.strip()]
    return lines[-1][:MAX_CHARS] if lines else ""


def _crash_words(dump: str) -> str:
    """Return the error that ``faulthandler`` wrote, with the innermost line of a user's code."""
    what = dump.partition("\n")[0].strip()
    frames = [found for found in _CRASH.finditer(dump) if not any(part in found["file"] for part in _NOT_OF_A_USER)]
    if not frames:
        return what[:MAX_CHARS]
    frame = frames[0]
    return f"{what} at {frame['file']}, line {frame['line']}, in {frame['function']}"[:MAX_CHARS]
