"""Control's words with the learner: JSON lines over a socket pair.

Control sends a job at a time, or ``stop``. The learner answers with ``ready``, ``progress`` and ``finished``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from agent.errors import ChannelError
from memory.records import JobKind, JobOutcome

MAX_LINE_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class Job:
    """Work for the learner.

    Attributes:
        run_id: its row in the store.
        kind: what to do.
        family: whom it is for; None for all.
        reason: why now, for people.
    """

    run_id: int
    kind: JobKind
    family: str | None
    reason: str

    def line(self) -> bytes:
        """The job as a line of the channel."""
        return _line(
            {"type": "job", "run_id": self.run_id, "kind": self.kind, "family": self.family, "reason": self.reason}
        )


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The learner has restored its state and takes jobs."""

    pid: int
    device: str
    learner_steps: int


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The learning loop has advanced to ``units`` of ``phase``."""

    run_id: int | None
    phase: str
    units: int


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A job has ended."""

    run_id: int
    outcome: JobOutcome
    detail: dict[str, Any]
    error: str


STOP = b'{"type": "stop"}\n'


def parse_message(line: bytes) -> Ready | Progress | Finished:
    """What the learner said.

    Raises:
        ChannelError: the line is not of the protocol.
    """
    try:
        values = json.loads(line)
        match values["type"]:
            case "ready":
                return Ready(pid=values["pid"], device=values["device"], learner_steps=values["learner_steps"])
            case "progress":
                return Progress(run_id=values["run_id"], phase=values["phase"], units=values["units"])
            case "finished":
                return Finished(
                    run_id=values["run_id"],
                    outcome=JobOutcome(values["outcome"]),
                    detail=values.get("detail") or {},
                    error=values.get("error") or "",
                )
    except (ValueError, KeyError, TypeError) as error:
        raise ChannelError(
            operation="reading the learner's channel", subject=_shown(line), found=f"{type(error).__name__}: {error}"
        ) from error
    raise ChannelError(operation="reading the learner's channel", subject=_shown(line), found="an unknown type")


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"


def _shown(line: bytes) -> str:
    return line[:200].decode(errors="replace").strip()
