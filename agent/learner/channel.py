"""The learner's end of the channel to control: JSON lines over a socket that control made.

Control sends a job at a time, or ``stop``. The learner answers with ``ready``, ``progress`` and ``finished``.
"""

from __future__ import annotations

import json
import select
import socket
from collections import deque
from dataclasses import dataclass
from typing import Any

from memory.records import JobKind, JobOutcome

READ_SIZE_BYTES = 65536


class ChannelClosedError(Exception):
    """Control is gone; there is nobody left to work for."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Work that control hands over.

    Attributes:
        run_id: the row of this run in the store.
        kind: what is to be done.
        family: the family it is for; None for all.
        reason: why it runs now.
    """

    run_id: int
    kind: JobKind
    family: str | None
    reason: str


class Channel:
    """JSON lines to and from control."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(None)
        self._unread = b""
        self._jobs: deque[Job] = deque()
        self.is_stop_requested = False

    def next_job(self) -> Job | None:
        """Wait for the next job; None once control has asked to stop.

        Raises:
            ChannelClosedError: control closed its end.
        """
        while not self._jobs and not self.is_stop_requested:
            self._receive()
        return None if self.is_stop_requested else self._jobs.popleft()

    def poll(self) -> None:
        """Take in what control has sent, without waiting.

        Raises:
            ChannelClosedError: control closed its end.
        """
        while select.select([self._connection], [], [], 0)[0]:
            self._receive()

    def send_ready(self, *, pid: int, device: str, learner_steps: int) -> None:
        """Say that the state is restored and jobs can come."""
        self._send({"type": "ready", "pid": pid, "device": device, "learner_steps": learner_steps})

    def send_progress(self, *, run_id: int | None, phase: str, units: int) -> None:
        """Say that the learning loop has moved on to ``units`` units of work."""
        self._send({"type": "progress", "run_id": run_id, "phase": phase, "units": units})

    def send_finished(self, *, run_id: int, outcome: JobOutcome, detail: dict[str, Any], error: str) -> None:
        """Report how a job ended."""
        self._send({"type": "finished", "run_id": run_id, "outcome": outcome, "detail": detail, "error": error})

    def close(self) -> None:
        """Close this end; control reads the end of the stream."""
        self._connection.close()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosedError from error

    def _receive(self) -> None:
        try:
            received = self._connection.recv(READ_SIZE_BYTES)
        except ConnectionResetError as error:
            raise ChannelClosedError from error
        if not received:
            raise ChannelClosedError
        *lines, self._unread = (self._unread + received).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "stop":
            self.is_stop_requested = True
            return
        self._jobs.append(
            Job(
                run_id=message["run_id"],
                kind=JobKind(message["kind"]),
                family=message["family"],
                reason=message["reason"],
            )
        )
