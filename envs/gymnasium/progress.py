"""Time-outs of a worker's answers. A time-out limits one copy of the environment at a time, not a whole request."""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum
from typing import Any

from numpy.typing import NDArray

from envs.limits import WorkerLimits
from envs.pace import KNOWN_AFTER, Pace, limit_s


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

    It follows the usual speed of the environment (:mod:`envs.pace`): that of an earlier worker, and that of this worker
    after :data:`envs.pace.KNOWN_AFTER` answers. A step is timed only while it is waited for, so a quick one costs
    nothing and has no duration.

    Args:
        limits: the longest time that one copy may take, and the usual speed as far as it is known.
    """

    def __init__(self, limits: WorkerLimits) -> None:
        self._limits = limits
        self._cells: NDArray[Any] | None = None
        self._num_copies = 1
        self._seen: list[int] = []
        self._seen_at = 0.0
        self._unchanged_s = 0.0
        self._longest_s = {Stage.RESETTING: 0.0, Stage.STEPPING: 0.0}
        self.num_answers = 0
        """The number of requests that the worker has answered."""

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
        self._look(self._read(), now)

    def has_passed(self, now: float) -> bool:
        """Return whether the worker has worked on the same copy for longer than the limit."""
        seen = self._read()
        if seen != self._seen:
            self._note_end()
            self._look(seen, now)
        self._unchanged_s = now - self._seen_at
        return now >= self._seen_at + self.limit_s

    def end(self) -> None:
        """End the time-out, because the worker has answered."""
        self._note_end()
        self._unchanged_s = 0.0

    @property
    def limit_s(self) -> float:
        """The longest time that the present copy may take, in seconds."""
        if self._is_starting:
            return self._limits.start_timeout_s
        limits = self._limits
        return limit_s(self._usual_s(), timeout_s=limits.step_timeout_s, shortest_s=limits.shortest_limit_s)

    @property
    def pace(self) -> Pace:
        """The usual speed of the environment: that of this worker if enough is known of it, else of an earlier one."""
        if self.num_answers < KNOWN_AFTER:
            return self._limits.pace
        return replace(
            self._limits.pace,
            longest_step_s=self._longest_s[Stage.STEPPING],
            longest_reset_s=self._longest_s[Stage.RESETTING],
        )

    def describe(self) -> str:
        """Return a message that names the exceeded limit, its setting, and the copy that was at work."""
        if not self._seen:
            limit, where = "for starting and making the first copy of the environment", ""
        else:
            limit = "for making one copy of the environment" if self._is_starting else "for one step or reset of a copy"
            where = f": {self._work_of(self._seen)}"
        setting = "start_timeout_s" if self._is_starting else "step_timeout_s"
        limit += f" (workers.{setting}{self._adapted()})"
        return f"it did not answer within {self.limit_s:g} s, the limit {limit}{where}."

    def work(self) -> str:
        """Return what the worker does now, such as "copy 1 of 32 was being stepped"; empty if that is not known."""
        return self._work_of(self._read())

    def _work_of(self, seen: list[int]) -> str:
        return f"copy {seen[0] + 1} of {self._num_copies} {DONE_TO_A_COPY[Stage(seen[1])]}" if seen else ""

    def _adapted(self) -> str:
        """Return why the limit is not that of the setting, as text; empty if it is."""
        longest_s = None if self._is_starting else self._usual_s()
        if longest_s is None or self.limit_s == self._limits.step_timeout_s:
            return ""
        usual = f"at most {longest_s:.1f} s" if longest_s > 0 else "less than a second"
        return f", adapted because it usually takes {usual}"

    @property
    def _is_starting(self) -> bool:
        return not self._seen or self._seen[1] == Stage.MAKING

    def _usual_s(self) -> float | None:
        """Return the longest time that the present operation was observed to take; None if too little was observed."""
        stage = self._seen[1] if self._seen else None
        if stage not in self._longest_s:
            return None
        usual_s = self.pace.longest_step_s if stage == Stage.STEPPING else self.pace.longest_reset_s
        return None if usual_s is None else max(self._longest_s[Stage(stage)], usual_s)

    def _look(self, seen: list[int], now: float) -> None:
        """Time the operation that the worker performs now."""
        self._seen, self._seen_at, self._unchanged_s = seen, now, 0.0

    def _note_end(self) -> None:
        """Note how long the operation took at least that was under way at the last look and has ended since."""
        if self._seen and (stage := self._seen[1]) in self._longest_s:
            self._longest_s[Stage(stage)] = max(self._longest_s[Stage(stage)], self._unchanged_s)

    def _read(self) -> list[int]:
        """Return row, stage and counter; an empty list while the worker has not opened its copies."""
        if self._cells is None:
            return []
        cells: list[int] = self._cells.tolist()
        return cells if cells[1] in DONE_TO_A_COPY else []
