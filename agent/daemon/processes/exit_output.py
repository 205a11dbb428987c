"""The line of a process's output that tells why it exited."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from agent.journal import level_of_line
from agent.output.error_text import short_error

_ENDING = re.compile(
    r"(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt)\b|Fatal Python error|terminate called|error:"
)
_ERRORS = frozenset({"error", "exception", "critical"})


def telling_line(lines: Sequence[str], *, is_killed: bool) -> str:
    """Return the newest line that tells of an error, as text for users; empty if none does.

    Events of lower levels, and output of environments, are about something else.

    Args:
        lines: the last lines of output, oldest first.
        is_killed: a signal ended the process. Otherwise it exited by itself, and its last plain line is its own.
    """
    fatal = next((line for line in reversed(lines) if line.startswith("Fatal Python error")), "")
    if fatal:
        return short_error(fatal)
    for line in reversed(lines):
        level = level_of_line(line)
        if level in _ERRORS:
            return _event_text(line)
        if not level and (_ENDING.match(line) or not is_killed):
            return short_error(line)
    return ""


def _event_text(line: str) -> str:
    """Return an event of the log without what only programs read."""
    try:
        event = json.loads(line)
    except ValueError:
        return short_error(line.partition("] ")[2])
    error = str(event.get("error") or event.get("found") or "")
    exception = str(event.get("exception") or "").strip().rpartition("\n")[2]
    return short_error(": ".join(part for part in (str(event["event"]), error or exception) if part))
