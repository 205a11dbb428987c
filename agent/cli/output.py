"""The text form of answers: tables, colours of states, and foreign messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from agent.output.quantities import short_count
from agent.output.visible_text import visible

STATE_STYLES = {
    "active": "green",
    "running": "green",
    "ok": "green",
    "published": "green",
    "succeeded": "green",
    "pending": "yellow",
    "paused": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "degraded": "yellow",
    "warn": "yellow",
    "skipped": "dim",
    "interrupted": "yellow",
    "missed": "yellow",
    "overran": "yellow",
    "quarantined": "red",
    "refused": "red",
    "rejected": "red",
    "rolled_back": "red",
    "failed": "red",
    "fail": "red",
    "stopped": "dim",
    "removed": "dim",
}

Part = str | Text | tuple[str, str]
"""A string without style, a text with its own style, or a pair of a string and its style."""

CONTINUATION = "\n    "
"""Separator of the lines of a foreign message. The indent keeps them distinct from the lines of the page."""


def new_table(*columns: str, right: tuple[str, ...] = (), title: str | None = None) -> Table:
    """Return an empty table. The columns named in ``right`` are aligned right."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def styled(*parts: Part) -> Text:
    """Join parts to one text. Control characters of strings are escaped, and strings are never parsed as markup."""
    text = Text()
    for part in parts:
        if isinstance(part, Text):
            text.append_text(part)
        elif isinstance(part, str):
            text.append(visible(part))
        else:
            text.append(visible(part[0]), part[1])
    return text


def in_colour(state: str) -> Text:
    """Return a state or outcome in its colour."""
    return styled((state, STATE_STYLES.get(state, "")))


def last_line(message: str) -> str:
    """Return the last line of a message that is not blank; an empty string if all lines are blank."""
    return next((line for line in reversed(message.splitlines()) if line.strip()), "").strip()


def indented(message: str) -> str:
    """Return a message of several lines with all but the first indented."""
    return message.strip().replace("\n", CONTINUATION)


def progress_text(detail: Mapping[str, Any]) -> str:
    """Return the progress of a running measurement as text: ", 40k of 100k steps"; empty for other jobs."""
    if "steps_done" not in detail:
        return ""
    return f", {short_count(detail['steps_done'])} of {short_count(detail['steps'])} steps ({detail['phase']})"
