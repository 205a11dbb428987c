"""The trainer's end of the channel to the daemon: :mod:`agent.messages` over a socket that the daemon made."""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from agent.logs import set_level
from agent.messages import (
    CloseUnwanted,
    Finished,
    Job,
    Message,
    Progress,
    Ready,
    SetLogLevel,
    Stop,
    parse_line,
    to_line,
)
from memory.records import JobOutcome

READ_SIZE_BYTES = 65536


class ChannelClosedError(Exception):
    """The daemon has closed its end of the channel or has exited."""


class Channel:
    """A channel for messages to and from the daemon.

    Attributes:
        on_close_request: called when the daemon requests to close unwanted workers while a job is awaited.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(None)
        self._unread = b""
        self._jobs: deque[Job] = deque()
        self.is_stop_requested = False
        self._is_close_requested = False
        self.on_close_request: Callable[[], None] = lambda: None

    def next_job(self) -> Job | None:
        """Wait for the next job and return it; return None when the daemon has requested a stop.

        Raises:
            ChannelClosedError: the daemon closed its end.
            ChannelError: the daemon sent a line that is not a message of the protocol.
        """
        while not self._jobs and not self.is_stop_requested:
            self._receive()
            if self.take_close_request():
                self.on_close_request()
        return None if self.is_stop_requested else self._jobs.popleft()

    def poll(self) -> None:
        """Receive the messages that the daemon has sent, without waiting.

        Raises:
            ChannelClosedError: the daemon closed its end.
            ChannelError: the daemon sent a line that is not a message of the protocol.
        """
        while select.select([self._connection], [], [], 0)[0]:
            self._receive()

    def take_close_request(self) -> bool:
        """Return whether the daemon has requested to close unwanted workers since the last call."""
        is_requested, self._is_close_requested = self._is_close_requested, False
        return is_requested

    def send_ready(self, *, pid: int, device: str, learner_steps: int) -> None:
        """Report that the state is restored and the trainer accepts jobs."""
        self._send(Ready(pid=pid, device=device, learner_steps=learner_steps))

    def send_progress(self, *, run_id: int | None, phase: str, units: int) -> None:
        """Report that the present job has done ``units`` units of work."""
        self._send(Progress(run_id=run_id, phase=phase, units=units))

    def send_finished(
        self, *, run_id: int, outcome: JobOutcome, detail: dict[str, Any], error: str, with_results: Iterable[str] = ()
    ) -> None:
        """Report how a job ended, and the families that have results of plays in the background."""
        finished = Finished(
            run_id=run_id, outcome=outcome, detail=detail, error=error, with_results=tuple(with_results)
        )
        self._send(finished)

    def close(self) -> None:
        """Close this end; the daemon then reads the end of the stream."""
        self._connection.close()

    def _send(self, message: Message) -> None:
        try:
            self._connection.sendall(to_line(message))
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
            match parse_line(line):
                case Job() as job:
                    self._jobs.append(job)
                case CloseUnwanted():
                    self._is_close_requested = True
                case SetLogLevel(level=level):
                    set_level(level)
                case Stop():
                    self.is_stop_requested = True
