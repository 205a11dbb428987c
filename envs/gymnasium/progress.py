"""How long the answer of a worker is waited for: the time-out counts for one copy of the environment at a time."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from numpy.typing import NDArray

from envs.limits import WorkerLimits


class Stage(IntEnum):
    """What a worker is doing to a copy; the numbers that ``envs.gymnasium.host`` writes."""

    MAKING = 1
    RESETTING = 2
    STEPPING = 3
    CHECKING = 4


DONE_TO_A_COPY = {
    Stage.MAKING: "was being made",
    Stage.RESETTING: "was being reset",
    Stage.STEPPING: "was being stepped",
    Stage.CHECKING: "was being reset or stepped by Gymnasium's checker",
}


class AnswerDeadline:
    """The time-out of a request; it starts again whenever the worker begins on another copy or reset.

    Args:
        limits: how long one copy may take.
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
            cells: [3] int64, shared with the worker: row, :class:`Stage`, and a number that grows.
            num_copies: B.
        """
        self._cells, self._num_copies = cells, num_copies

    def forget(self) -> None:
        """Release the shared memory."""
        self._cells = None

    def start(self, now: float) -> None:
        """Begin to wait for an answer."""
        self._seen = self._read()
        self._ends_at = now + self.limit_s

    def has_passed(self, now: float) -> bool:
        """Return whether the worker has been at the same copy for too long."""
        seen = self._read()
        if seen != self._seen:
            self._seen = seen
            self._ends_at = now + self.limit_s
        return now >= self._ends_at

    @property
    def limit_s(self) -> float:
        """The longest time at the present copy, in seconds."""
        return self._limits.start_timeout_s if self._is_starting else self._limits.step_timeout_s

    def describe(self) -> str:
        """Say which limit has passed, which setting moves it, and which copy was at work."""
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
        """Return row, stage and count; nothing while the worker has not opened its copies."""
        if self._cells is None:
            return []
        cells: list[int] = self._cells.tolist()
        return cells if cells[1] in DONE_TO_A_COPY else []
