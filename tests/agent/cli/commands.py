"""Enumeration of all commands, from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import typer

from agent.cli.main import app


@cache
def every_command() -> dict[tuple[str, ...], Any]:
    """Return all commands by their words."""
    return dict(_walk((), typer.main.get_command(app)))


def _walk(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    for name, sub in inner.items():
        yield from _walk((*words, name), sub)
