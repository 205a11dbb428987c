"""HTTP connections with a limit on their number and on their time.

uvicorn sets no time limit on a request that is never sent, on a body that never ends, or on a client that never reads
its response. Each such connection holds a file descriptor, and a service without free descriptors fails.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n"


KEEP_OPEN = "learnd.keep_open"
"""The key, in a request's extensions, of a function that a stream calls while it sends: it restarts the time limit of
the answer if the client has read everything so far."""


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """The limits of all connections of a server.

    Attributes:
        max_connections: most open connections. A further connection replaces one that waits for a request.
        request_timeout_s: time from the start of the connection, or from the first byte of a request, to the end of
            the request's header.
        answer_timeout_s: time from the end of the header until the rest of the request has arrived and the client has
            read the response.
    """

    max_connections: int = 256
    request_timeout_s: float = 10.0
    answer_timeout_s: float = 30.0


def bounded_by(limits: ConnectionLimits) -> type[BoundedConnection]:
    """Return a protocol class that enforces ``limits``; uvicorn creates one instance per connection."""
    return type("BoundedConnection", (BoundedConnection,), {"limits": limits})


class BoundedConnection(H11Protocol):
    """An HTTP/1.1 connection that is closed at a time limit, or when a newer connection replaces it."""

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._timer: asyncio.TimerHandle | None = None
        self._waits_since = time.monotonic()
        self._is_kept_alive = False
        """True if the connection is kept alive between two requests."""
        self._has_request_begun = False
        """True if at least one byte of the next request has arrived."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a new connection; at the limit, close a waiting one or refuse the new one with status 503."""
        super().connection_made(transport)
        if not self._close_one_if_full():
            transport.write(_BUSY)
            transport.close()
        self._start_timer(self.limits.request_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Handle received bytes and restart the timer of the phase that the connection is in."""
        if self._is_kept_alive:
            self._is_kept_alive = False
            self._start_timer(self.limits.request_timeout_s)
        self._has_request_begun = True
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._start_timer(self.limits.answer_timeout_s)
            self._offer_to_keep_open()

    def _offer_to_keep_open(self) -> None:
        scope = cast("dict[str, Any]", self.cycle.scope)
        scope["extensions"] = {**scope.get("extensions", {}), KEEP_OPEN: self._keep_open}

    def _keep_open(self) -> None:
        """Restart the time limit of an answer that is sent in parts, if the client has read all parts so far."""
        if not self.transport.is_closing() and not self.is_waiting and not self.transport.get_write_buffer_size():
            self._start_timer(self.limits.answer_timeout_s)

    def on_response_complete(self) -> None:
        """Wait for the next request. The time limit stays in force while a body or a response is incomplete."""
        super().on_response_complete()
        if self.is_waiting and self.conn.their_state is h11.IDLE and not self.transport.get_write_buffer_size():
            self._stop_timer()
            self._is_kept_alive, self._has_request_begun, self._waits_since = True, False, time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer of a closed connection."""
        self._stop_timer()
        super().connection_lost(exc)

    @property
    def is_waiting(self) -> bool:
        """True if no request is being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _close_one_if_full(self) -> bool:
        """Close a waiting connection if there are too many, and return whether this connection can stay open.

        Connections that have already received a response are closed first.
        """
        others = [other for other in self.connections if other is not self and isinstance(other, BoundedConnection)]
        if len(others) < self.limits.max_connections:
            return True
        waiting = [other for other in others if other.is_waiting]
        if not waiting:
            return False
        oldest = min(waiting, key=lambda other: (not other._is_kept_alive, other._waits_since))  # noqa: SLF001
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    def _start_timer(self, limit_s: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(limit_s, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        """Close the connection at its time limit. If a request is incomplete, send status 408 first."""
        self._timer = None
        is_incomplete = self._has_request_begun and self.conn.our_state is h11.IDLE
        if is_incomplete and not self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self.transport.write(_TIMED_OUT)
            self.transport.close()
            self._start_timer(self.limits.request_timeout_s)  # in case the client does not read the response
        else:
            self.transport.abort()
