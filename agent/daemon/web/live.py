"""The stream of changes (server-sent events): one message for all clients each time that the service has changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from agent.daemon.http.answers import SECURITY_HEADERS, error_response
from agent.daemon.http.connections import KEEP_OPEN
from agent.daemon.store.snapshot import Snapshot
from agent.daemon.web.resources import PREFIX
from agent.daemon.web.values import Values
from agent.errors import AgentError
from agent.output.visible_text import visible
from memory.records import JobKind

STREAM_PATH = f"{PREFIX}/stream"
MAX_CLIENTS = 16
PERIOD_S = 1.0
"""Time between two looks at the service."""

HEARTBEAT_S = 10.0
RETRY_MS = 2000
"""Time after which a browser connects again."""

HEARTBEAT = b": still here\n\n"


class StreamFullError(AgentError):
    """An error: the stream has as many clients as it may have, or the service stops."""


class LiveMessage(Values):
    """A message of the stream: numbers that change when the resources do, so that clients read only those again."""

    state: str
    """The state of the service."""
    summary: str
    """The current activity in one line."""
    health: str
    """`ok` or `red`."""
    revision: int
    """Changes with every commit: of `status`, `families`, `jobs`, `events` and `memory`."""
    evaluations: float
    """The time of the newest evaluation: of `trends`, `curves` and `matrix`."""
    versions: int
    """Changes with every consolidation and rollback: of `versions`."""


def live_values(snapshot: Snapshot | None, *, state: str, summary: str, is_red: bool) -> dict[str, Any]:
    """Return the values of a :class:`LiveMessage`."""
    common = {"state": state, "summary": visible(summary), "health": "red" if is_red else "ok"}
    if snapshot is None:
        return {**common, "revision": 0, "evaluations": 0.0, "versions": 0}
    consolidated = snapshot.jobs.get(JobKind.CONSOLIDATE)
    run = None if consolidated is None else consolidated.last_run
    return {
        **common,
        "revision": snapshot.data_version,
        "evaluations": max((at for at, _ in snapshot.evaluated.values()), default=0.0),
        "versions": snapshot.policy_version + 1_000_000 * (0 if run is None else run.id),
    }


class LiveStream:
    """The stream of changes to a bounded number of clients.

    Args:
        values: returns the values of the present message.
        max_clients: most clients at once.
        period_s: time between two looks at the service.
        heartbeat_s: time without a message after which a comment is sent.
    """

    def __init__(
        self,
        values: Callable[[], dict[str, Any]],
        *,
        max_clients: int = MAX_CLIENTS,
        period_s: float = PERIOD_S,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._values = values
        self.max_clients = max_clients
        self._period_s = period_s
        self._heartbeat_s = heartbeat_s
        self._message = b""
        self._number = 0
        self._changed = asyncio.Event()
        self._is_closed = False
        self.num_clients = 0

    def route(self) -> Route:
        """Return the route of the stream."""
        return Route(STREAM_PATH, self._answer)

    async def watch(self) -> None:
        """Look at the service again and again, and publish what has changed."""
        while not self._is_closed:
            self.look()
            await asyncio.sleep(self._period_s)

    def look(self) -> None:
        """Publish the present message if it differs from the last one. Without clients, nothing is computed."""
        if not self.num_clients:
            return
        message = json.dumps(self._values(), allow_nan=False).encode()
        if message != self._message:
            self._message = message
            self._wake()

    def close(self) -> None:
        """End the stream of every client."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        self._number += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def _answer(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream", headers={"cache-control": "no-store", **SECURITY_HEADERS})
        if self.num_clients >= self.max_clients or self._is_closed:
            full = StreamFullError(
                operation="following the stream",
                subject=STREAM_PATH,
                found=f"{self.max_clients} clients already follow it.",
                hint="Ask for the resources again every few seconds, and for the stream later.",
            )
            return error_response(full, status=503, headers={"retry-after": "10"})
        keep_open: Callable[[], None] = request.scope.get("extensions", {}).get(KEEP_OPEN, lambda: None)
        return StreamingResponse(
            self.messages(keep_open),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no", **SECURITY_HEADERS},
        )

    async def messages(self, keep_open: Callable[[], None]) -> AsyncIterator[bytes]:
        """Yield the parts of the stream of one client: the present message, each change, and heartbeats.

        Args:
            keep_open: restarts the time limit of the client's connection.
        """
        self.num_clients += 1
        try:
            self.look()
            yield f"retry: {RETRY_MS}\n\n".encode()
            seen = 0
            while not self._is_closed:
                keep_open()
                if self._number == seen and not await self._has_changed():
                    yield HEARTBEAT
                elif not self._is_closed:
                    seen = self._number
                    yield b"id: %d\ndata: %s\n\n" % (seen, self._message)
        finally:
            self.num_clients -= 1

    async def _has_changed(self) -> bool:
        """Wait for a message; return whether one came before the next heartbeat is due."""
        changed = self._changed
        try:
            async with asyncio.timeout(self._heartbeat_s):
                await changed.wait()
        except TimeoutError:
            return False
        return True
