"""The pipes to the trainer."""

from __future__ import annotations

import os
from json import dumps
from os import read, write  # by themselves, because an environment may replace the functions of ``os`` and ``json``
from typing import Any

from .faults import EndOfRequestsError


class Channel:
    """The two pipes to the trainer. They belong to this process alone, not to a copy that an environment forks."""

    def __init__(self, request_fd: int, answer_fd: int) -> None:
        self._request_fd, self._answer_fd = request_fd, answer_fd
        self._waiting = b""
        self.is_closed = False

    def close(self) -> None:
        """Close the pipes: there are no more requests, and answers are discarded."""
        self.is_closed = True
        os.close(self._request_fd)
        os.close(self._answer_fd)

    def request(self) -> bytes:
        """Wait for the next request and return it: ``b"s"`` or a line of JSON."""
        if not self._waiting:
            self._waiting = self._read()
        if self._waiting[:1] == b"s":
            self._waiting = self._waiting[1:]
            return b"s"
        while b"\n" not in self._waiting:
            self._waiting += self._read()
        line, _, self._waiting = self._waiting.partition(b"\n")
        return line

    def _read(self) -> bytes:
        if self.is_closed:
            raise EndOfRequestsError
        received = read(self._request_fd, 65536)
        if not received:
            raise EndOfRequestsError
        return received

    def stepped(self, *, has_ends: bool) -> None:
        """Report that a step is done, and whether it ended an episode."""
        if not self.is_closed:
            write(self._answer_fd, b"e" if has_ends else b"s")

    def answer(self, values: dict[str, Any]) -> None:
        """Answer with a line of JSON."""
        line = dumps(values).encode() + b"\n"
        while line and not self.is_closed:
            line = line[write(self._answer_fd, line) :]
