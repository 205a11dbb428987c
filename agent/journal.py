"""Priorities of log lines for the systemd journal, as prefixes of sd-daemon(3): ``<3>`` is an error.

A service whose stderr is the journal says so in ``JOURNAL_STREAM``. The journal removes the prefix, and stores it as
the priority of the entry. Without a prefix every line has priority 6.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import TextIO

VARIABLE = "JOURNAL_STREAM"
PRIORITIES: Mapping[str, int] = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}
_DEFAULT = PRIORITIES["info"]
_CONSOLE_LEVEL = re.compile(r"^\S+ \[(?P<level>[a-z]+) *\]")


def is_journal(stream: TextIO) -> bool:
    """Return whether a stream of this process is the journal."""
    device, _, inode = os.environ.get(VARIABLE, "").partition(":")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def prefix_of(level: str) -> str:
    """Return the prefix of a line of a level."""
    return f"<{PRIORITIES.get(level, _DEFAULT)}>"


def level_of_line(line: str) -> str:
    """Return the level of a log line in either format; empty for plain output."""
    if line.startswith("{"):
        try:
            values = json.loads(line)
        except ValueError:
            return ""
        level = values.get("level") if isinstance(values, dict) and "event" in values else None
        return level if isinstance(level, str) and level in PRIORITIES else ""
    match = _CONSOLE_LEVEL.match(line)
    return match["level"] if match and match["level"] in PRIORITIES else ""


def with_prefix(text: str, level: str) -> str:
    """Return a text of one or more lines, each with the prefix of a level."""
    prefix = prefix_of(level)
    return prefix + text.replace("\n", f"\n{prefix}")
