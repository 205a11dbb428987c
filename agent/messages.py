"""What control and the learner say to each other: JSON lines over a socket pair.

Control sends a :class:`Job` at a time, or :class:`Stop`. The learner answers with :class:`Ready`, :class:`Progress` and
:class:`Finished`. A line is the message's fields and its ``type``, the class's name in lower case.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True, kw_only=True)
class Stop:
    """The learner is to commit what is whole and end."""


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


Message = Job | Stop | Ready | Progress | Finished

_BY_TYPE: dict[str, type[Message]] = {kind.__name__.lower(): kind for kind in (Job, Stop, Ready, Progress, Finished)}
_READERS: dict[str, Callable[[Any], Any]] = {"kind": JobKind, "outcome": JobOutcome}


def to_line(message: Message) -> bytes:
    """A message as a line of the channel."""
    return json.dumps({"type": type(message).__name__.lower(), **asdict(message)}).encode() + b"\n"


def parse_line(line: bytes) -> Message:
    """The message that :func:`to_line` wrote.

    Raises:
        ChannelError: the line is not of the protocol.
    """
    try:
        values = json.loads(line)
        kind = _BY_TYPE[values.pop("type")]
        read: dict[str, Any] = {name: _READERS.get(name, _as_it_is)(value) for name, value in values.items()}
        return kind(**read)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ChannelError(
            operation="reading the channel between control and learner",
            subject=line[:200].decode(errors="replace").strip(),
            found=f"{type(error).__name__}: {error}",
        ) from error


def _as_it_is(value: Any) -> Any:
    return value
