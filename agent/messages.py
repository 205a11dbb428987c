"""Messages between daemon and trainer: JSON lines over a socket pair.

The daemon sends one :class:`Job` at a time, :class:`CloseUnwanted`, :class:`SetLogLevel` or
:class:`Stop`. The trainer sends
:class:`Ready`, :class:`Progress` and :class:`Finished`. A line has the fields of the message and ``type``, the name of
its class in lower case.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from agent.errors import ChannelError
from memory.records import JobKind, JobOutcome

DUE = "due"
"""The reason of a job that is due by its schedule."""

FOUND_NOTHING = "found_nothing"
"""Key in the detail of a job that asked for the result of a play in the background, which goes on, and did no more."""

PHASE_SECONDS_DETAIL = "seconds"
"""Key in the detail of a slice of practice: the seconds that each of its phases took."""

MAX_LINE_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job for the trainer.

    Attributes:
        run_id: id of its row in the store.
        kind: the kind of job.
        family: the family that the job is for; None for all.
        reason: why the job runs now, in words for users.
    """

    run_id: int
    kind: JobKind
    family: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A request to the trainer to commit complete work and exit."""


@dataclass(frozen=True, kw_only=True)
class CloseUnwanted:
    """A request to the trainer to end the workers of families that were removed or paused."""


@dataclass(frozen=True, kw_only=True)
class SetLogLevel:
    """A request to the trainer to log from another level on ("debug", "info", "warning", "error")."""

    level: str


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A report that the trainer has restored its state and accepts jobs."""

    pid: int
    device: str
    learner_steps: int


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A report that the learning loop has advanced to ``units`` of ``phase``."""

    run_id: int | None
    phase: str
    units: int


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A report that a job has ended.

    Attributes:
        run_id: id of the job's row in the store.
        outcome: how it ended.
        detail: the job's report.
        error: the reason of a failure; empty if there was none.
        with_results: the families that a job can go on with: a play of theirs has ended, or it has a place to begin.
    """

    run_id: int
    outcome: JobOutcome
    detail: dict[str, Any]
    error: str
    with_results: tuple[str, ...] = ()


Message = Job | Stop | CloseUnwanted | SetLogLevel | Ready | Progress | Finished

_BY_TYPE: dict[str, type[Message]] = {
    kind.__name__.lower(): kind for kind in (Job, Stop, CloseUnwanted, SetLogLevel, Ready, Progress, Finished)
}
_READERS: dict[str, Callable[[Any], Any]] = {"kind": JobKind, "outcome": JobOutcome, "with_results": tuple}


def to_line(message: Message) -> bytes:
    """Return a message as a line of the channel."""
    return json.dumps({"type": type(message).__name__.lower(), **asdict(message)}).encode() + b"\n"


def parse_line(line: bytes) -> Message:
    """Return the message of a line that :func:`to_line` wrote.

    Raises:
        ChannelError: the line violates the protocol.
    """
    try:
        values = json.loads(line)
        kind = _BY_TYPE[values.pop("type")]
        read: dict[str, Any] = {name: _READERS.get(name, _as_it_is)(value) for name, value in values.items()}
        return kind(**read)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ChannelError(
            operation="reading the channel between daemon and trainer",
            subject=line[:200].decode(errors="replace").strip(),
            found=f"{type(error).__name__}: {error}",
        ) from error


def _as_it_is(value: Any) -> Any:
    return value
