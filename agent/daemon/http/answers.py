"""Answers of the HTTP interface: read once for all clients, compressed once, and revalidated by an ETag."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from agent.daemon.http.content_coding import accepts_gzip
from agent.errors import AgentError
from agent.output.visible_text import visible
from memory.errors import MemoryStoreError

LEAST_COMPRESSED_BYTES = 512
"""Smaller bodies are sent as they are: a header costs more than compression saves."""

MAX_KEPT_BYTES = 32 * 2**20
"""Largest size of all kept answers."""

COMPRESSION_LEVEL = 5

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A body with its compressed form and its ETag.

    Attributes:
        body: the bytes.
        media_type: their type.
        compressed: the same in gzip; empty if the body is short.
        etag: a weak ETag, which both forms share.
    """

    body: bytes
    media_type: str
    compressed: bytes
    etag: str

    @property
    def size_bytes(self) -> int:
        """Return the size of both forms."""
        return len(self.body) + len(self.compressed)


def new_answer(body: bytes, media_type: str) -> Answer:
    """Return the answer with a body."""
    is_long = len(body) >= LEAST_COMPRESSED_BYTES
    return Answer(
        body=body,
        media_type=media_type,
        compressed=gzip.compress(body, COMPRESSION_LEVEL, mtime=0) if is_long else b"",
        etag=f'W/"{hashlib.sha256(body).hexdigest()[:24]}"',
    )


def response_of(answer: Answer, request: Request, *, headers: dict[str, str] | None = None) -> Response:
    """Return the response: 304 if the client has the answer, compressed if the client accepts gzip."""
    common = {
        "etag": answer.etag,
        "cache-control": "no-cache",
        "vary": "accept-encoding, cookie, authorization",
        **SECURITY_HEADERS,
        **(headers or {}),
    }
    if _has(request.headers.get("if-none-match", ""), answer.etag):
        return Response(status_code=304, headers=common)
    if answer.compressed and accepts_gzip(request.headers.get("accept-encoding", "")):
        return Response(answer.compressed, media_type=answer.media_type, headers={**common, "content-encoding": "gzip"})
    return Response(answer.body, media_type=answer.media_type, headers=common)


def _has(header: str, etag: str) -> bool:
    """Return whether an If-None-Match header names the ETag, by weak comparison (RFC 9110, 13.1.2)."""
    names = [name.strip().removeprefix("W/") for name in header.split(",")]
    return "*" in names or etag.removeprefix("W/") in names


def error_response(
    error: AgentError | MemoryStoreError, *, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error as JSON: what was tried, what was found, and what to do."""
    body = {
        "operation": error.operation,
        "subject": visible(str(error.subject)),
        "found": visible(error.found),
        "hint": visible(error.hint),
    }
    return JSONResponse(
        {"error": body},
        status_code=status,
        headers={"cache-control": "no-store", **SECURITY_HEADERS, **(headers or {})},
    )


class AnswerCache:
    """A cache of answers, each of which is read at most once for each revision of the store.

    Requests that arrive while an answer is being read wait for that reading.

    Args:
        revision: returns a number that changes when the store has changed.
    """

    def __init__(self, revision: Callable[[], int]) -> None:
        self._revision = revision
        self._kept: OrderedDict[Hashable, tuple[int, Answer]] = OrderedDict()
        self._readings: dict[Hashable, asyncio.Task[Answer]] = {}
        self._kept_bytes = 0

    async def get(self, key: Hashable, read: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return the kept answer of a key, or read it if the store has changed."""
        revision = self._revision()
        found = self._kept.get(key)
        if found is not None and found[0] == revision:
            self._kept.move_to_end(key)
            return found[1]
        reading = self._readings.get(key)
        if reading is None:
            reading = asyncio.ensure_future(self._read(key, revision, read))
            self._readings[key] = reading
            reading.add_done_callback(lambda task: self._end(key, task))
        return await asyncio.shield(reading)

    async def _read(self, key: Hashable, revision: int, read: Callable[[], Awaitable[Answer]]) -> Answer:
        answer = await read()
        self._keep(key, revision, answer)
        return answer

    def _end(self, key: Hashable, task: asyncio.Task[Answer]) -> None:
        self._readings.pop(key, None)
        if not task.cancelled():
            task.exception()  # A client that has gone away does not take it.

    def _keep(self, key: Hashable, revision: int, answer: Answer) -> None:
        if (before := self._kept.pop(key, None)) is not None:
            self._kept_bytes -= before[1].size_bytes
        self._kept[key] = (revision, answer)
        self._kept_bytes += answer.size_bytes
        while self._kept_bytes > MAX_KEPT_BYTES and len(self._kept) > 1:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.size_bytes
