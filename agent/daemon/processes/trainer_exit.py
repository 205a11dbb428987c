"""Exits of the trainer process."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agent.errors import AgentError


class RestartReason(StrEnum):
    """A reason for a restart of the trainer. The values are those of the label ``reason`` of a metric."""

    EXITED = "exited"
    KILLED = "killed"
    """By a signal that the daemon did not send."""

    HUNG = "hung"
    START_FAILED = "start_failed"


@dataclass(frozen=True, kw_only=True)
class TrainerExit:
    """The exit of a trainer process.

    Attributes:
        reason: the kind of exit.
        found: what was observed, in words for users ("signal 9 (SIGKILL)").
        last_line: the last line that the process wrote about an error; empty if it wrote none.
    """

    reason: RestartReason
    found: str
    last_line: str

    def __str__(self) -> str:
        """Return the exit as one line."""
        return f"{self.reason}: {self.found}" + (
            f"; last error in its output: {self.last_line}" if self.last_line else ""
        )


class TrainerExitedError(AgentError):
    """An error: the trainer exited while it had a job."""

    def __init__(self, trainer_exit: TrainerExit) -> None:
        self.trainer_exit = trainer_exit
        super().__init__(operation="running a job in", subject="the trainer", found=str(trainer_exit))
