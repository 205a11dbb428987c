"""Time-outs of a worker's answers. A time-out limits one copy of the environment at a time, not a whole request."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from numpy.typing import NDArray

from envs.limits import WorkerLimits


class Stage(IntEnum):
    """The operation that a worker performs on a copy, with the numbers that ``envs.gymnasium.host`` writes."""

    MAKING = 1
    RESETTING = 2
    STEPPING = 3
    CHECKING = 4


DONE_TO_A_COPY = {
    Stage.MAKING: "was being made",
    Stage.RESETTING: "was being reset",
    Stage.STEPPING: "was being stepped",
    Stage.CHECKING: "was being checked",
}


class AnswerDeadline:
    """The time-out of a request. It restarts whenever the worker begins another copy or another reset.

    Args:
        limits: the longest time that one copy may take.
    """

    def __init__(self, limits: WorkerLimits) -> None:
        self._limits = limits
        self._cells: NDArray[Any] | None = None
        self._num_copies = 1
        self._seen: list[int] = []
        self._ends_at = 0.0

    def follow(self, cells: NDArray[Any], num_copies: int) -> None:
        """Read the worker's progress from now on.

        Args:
            cells: [3] int64, shared with the worker: row, :class:`Stage`, and a counter.
            num_copies: B.
        """
        self._cells, self._num_copies = cells, num_copies

    def forget(self) -> None:
        """Release the shared memory."""
        self._cells = None

    def start(self, now: float) -> None:
        """Start the time-out when waiting for an answer begins."""
        self._seen = self._read()
        self._ends_at = now + self.limit_s

    def has_passed(self, now: float) -> bool:
        """Return whether the worker has worked on the same copy for longer than the limit."""
        seen = self._read()
        if seen != self._seen:
            self._seen = seen
            self._ends_at = now + self.limit_s
        return now >= self._ends_at

    @property
    def limit_s(self) -> float:
        """The longest time that the present copy may take, in seconds."""
        return self._limits.start_timeout_s if self._is_starting else self._limits.step_timeout_s

    def describe(self) -> str:
        """Return a message that names the exceeded limit, its setting, and the copy that was at work."""
        if not self._seen:
            limit, where = "for starting and making the first copy of the environment", ""
        else:
            row, stage = self._seen[0], Stage(self._seen[1])
            limit = "for making one copy of the environment" if self._is_starting else "for one step or reset of a copy"
            where = f": copy {row + 1} of {self._num_copies} {DONE_TO_A_COPY[stage]}"
        setting = "start_timeout_s" if self._is_starting else "step_timeout_s"
        return f"it did not answer within {self.limit_s:g} s, the limit {limit} (workers.{setting}){where}."

    @property
    def _is_starting(self) -> bool:
        return not self._seen or self._seen[1] == Stage.MAKING

    def _read(self) -> list[int]:
        """Return row, stage and counter; an empty list while the worker has not opened its copies."""
        if self._cells is None:
            return []
        cells: list[int] = self._cells.tolist()
        return cells if cells[1] in DONE_TO_A_COPY else []
