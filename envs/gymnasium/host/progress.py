"""Reports of the copy that is at work, and of what is done to it."""

from __future__ import annotations

import contextlib
import enum
import functools
import time
from typing import Any

import gymnasium

from .faults import OutOfTimeError


class Stage(enum.IntEnum):
    """The present operation on a copy of the environment; ``envs.gymnasium.progress`` has the same numbers."""

    MAKING = 1
    RESETTING = 2
    STEPPING = 3
    CHECKING = 4


class Progress:
    """A report of the copy that is at work, so that the trainer's time-outs limit one copy and not all of them.

    Attributes:
        cells: [3] int64, shared: row, :class:`Stage`, and a counter that grows with every copy made, reset or checked.
    """

    def __init__(self, cells: Any) -> None:
        self.cells = cells

    def begin(self, stage: Stage, row: int) -> None:
        """Report that an operation on a copy begins."""
        self.cells[0] = row
        self.cells[1] = stage
        self.cells[2] += 1


def report_calls(env: gymnasium.Env[Any, Any], progress: Progress, *, within_s: float) -> None:
    """Wrap an environment's ``reset`` and ``step`` so that each call is reported as progress.

    After ``within_s`` seconds the calls raise :class:`OutOfTimeError` instead.
    """
    end = time.monotonic() + within_s
    for name in ("reset", "step"):
        method = getattr(env, name)

        @functools.wraps(method)
        def reported(*args: Any, _method: Any = method, **kwargs: Any) -> Any:
            if time.monotonic() > end:
                raise OutOfTimeError
            progress.begin(Stage.CHECKING, 0)
            return _method(*args, **kwargs)

        with contextlib.suppress(Exception):  # a user's own __setattr__ may do anything
            setattr(env, name, reported)
