"""HTTP connections that are bounded in number and in time.

uvicorn waits for ever for a request that is never sent, for a body that never ends and for a client that never reads
its answer. Each such connection holds a file descriptor, and without descriptors the whole service ends.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """What connections may use.

    Attributes:
        max_connections: open at once; a further one takes the place of one that waits for a request.
        request_timeout_s: from the connection, or from a request's first byte, to the end of its header.
        answer_timeout_s: from there until the rest of the request has arrived and its answer has been read.
    """

    max_connections: int = 256
    request_timeout_s: float = 10.0
    answer_timeout_s: float = 30.0


def bounded_by(limits: ConnectionLimits) -> type[BoundedConnection]:
    """Return the protocol class whose connections are held to ``limits``; uvicorn makes one instance a connection."""
    return type("BoundedConnection", (BoundedConnection,), {"limits": limits})


class BoundedConnection(H11Protocol):
    """An HTTP/1.1 connection that is closed when it takes too long, or to make room for another."""

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._timer: asyncio.TimerHandle | None = None
        self._waits_since = time.monotonic()
        self._is_at_rest = False
        """Whether it is kept alive between two requests."""
        self._has_begun = False
        """Whether something of the next request has arrived."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, in the place of another where there are too many."""
        super().connection_made(transport)
        if not self._make_room():
            transport.write(_BUSY)
            transport.close()
        self._arm(self.limits.request_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Take in what the client sent, within its time."""
        if self._is_at_rest:
            self._is_at_rest = False
            self._arm(self.limits.request_timeout_s)
        self._has_begun = True
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._arm(self.limits.answer_timeout_s)

    def on_response_complete(self) -> None:
        """Wait for the next request; a body or an answer that is still under way stays under its time limit."""
        super().on_response_complete()
        if self.is_waiting and self.conn.their_state is h11.IDLE and not self.transport.get_write_buffer_size():
            self._disarm()
            self._is_at_rest, self._has_begun, self._waits_since = True, False, time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._disarm()
        super().connection_lost(exc)

    @property
    def is_waiting(self) -> bool:
        """Whether no request is being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _make_room(self) -> bool:
        """Return whether this connection can stay, after closing one that waits: first those that were answered."""
        others = [other for other in self.connections if other is not self and isinstance(other, BoundedConnection)]
        if len(others) < self.limits.max_connections:
            return True
        waiting = [other for other in others if other.is_waiting]
        if not waiting:
            return False
        oldest = min(waiting, key=lambda other: (not other._is_at_rest, other._waits_since))  # noqa: SLF001
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    def _arm(self, limit_s: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(limit_s, self._time_out)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        """Close the connection: with an answer where a request is incomplete, else without."""
        self._timer = None
        is_incomplete = self._has_begun and self.conn.our_state is h11.IDLE
        if is_incomplete and not self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self.transport.write(_TIMED_OUT)
            self.transport.close()
            self._arm(self.limits.request_timeout_s)  # for a client that does not read the answer either
        else:
            self.transport.abort()
