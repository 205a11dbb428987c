"""Tests of the limits of connections, with real sockets and short time limits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from agent.daemon.http.connections import KEEP_OPEN, ConnectionLimits
from agent.daemon.http.server import HttpServer
from tests.agent.daemon.http_client import ask, connect, read_to_end, read_until

QUICK = ConnectionLimits(max_connections=4, request_timeout_s=0.5, answer_timeout_s=1.0)
PATIENT = ConnectionLimits(max_connections=4, request_timeout_s=60.0, answer_timeout_s=60.0)
GET = b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n"
GET_AND_CLOSE = b"GET /small HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
LARGE = 64 * 2**20


def _app() -> Starlette:
    async def small(_: Request) -> Response:
        return PlainTextResponse("small")

    async def large(_: Request) -> Response:
        return PlainTextResponse("x" * LARGE)

    async def endless(_: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            while True:
                yield "x"
                await asyncio.sleep(0.05)

        return StreamingResponse(parts())

    async def kept(request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            for _ in range(40):
                request.scope["extensions"][KEEP_OPEN]()
                yield "x" * (1 if "small" in request.query_params else 2**22)
                await asyncio.sleep(0.05)

        return StreamingResponse(parts())

    pages = {"/small": small, "/large": large, "/endless": endless, "/kept": kept}
    return Starlette(routes=[Route(path, page) for path, page in pages.items()])


@contextmanager
def serving(limits: ConnectionLimits) -> Iterator[str]:
    """Run a server in a thread with its own event loop; yield its address."""
    server = HttpServer(_app(), host="127.0.0.1", port=0, limits=limits)
    url = f"http://{server.address}/"
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        yield url
    finally:
        server.stop()
        thread.join()
        server.close()


@pytest.mark.parametrize(
    "begun", [b"", b"G", b"GET /small HTTP/1.1\r\n", b"GET /small HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 500]
)
def test_a_connection_whose_request_header_does_not_arrive_in_time_is_closed(begun: bytes) -> None:
    with serving(QUICK) as url, connect(url) as connection:
        connection.sendall(begun)
        answer = read_to_end(connection)
        assert answer.startswith(b"HTTP/1.1 408") if begun else answer == b""
        assert b"small" in ask(url, GET_AND_CLOSE)


def test_a_header_that_goes_on_arriving_for_ever_is_cut_off() -> None:
    with serving(QUICK) as url, connect(url) as connection:
        connection.sendall(b"GET /small HTTP/1.1\r\n")
        connection.settimeout(0.1)
        for number in range(100):
            try:
                connection.sendall(b"X-%d: a\r\n" % number)
                if connection.recv(100).startswith(b"HTTP/1.1 408"):
                    break
            except TimeoutError:
                continue
        else:
            raise AssertionError("it was never cut off")


def test_a_body_that_never_ends_is_cut_off() -> None:
    with serving(QUICK) as url, connect(url) as connection:
        connection.sendall(b"POST /small HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        connection.settimeout(0.1)
        for _ in range(100):
            try:
                connection.sendall(b"x")
                if connection.recv(1000) == b"":
                    break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        else:
            raise AssertionError("it was never cut off")


@pytest.mark.parametrize("keep", [b"keep-alive", b"close"])
def test_an_answer_that_is_not_read_is_given_up(keep: bytes) -> None:
    with serving(QUICK) as url, connect(url) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: " + keep + b"\r\n\r\n")
        threading.Event().wait(1.5)  # longer than the time limit for reading a response
        assert len(read_to_end(connection)) < LARGE


def test_a_connection_that_is_kept_alive_is_answered_again_and_again() -> None:
    with serving(QUICK) as url, connect(url) as connection:
        for _ in range(3):
            connection.sendall(GET)
            assert b"200 OK" in read_until(connection, b"small")
            threading.Event().wait(0.7)  # longer than the time limit for a request


def test_pipelined_requests_are_all_answered() -> None:
    with serving(QUICK) as url:
        assert ask(url, GET * 5 + GET_AND_CLOSE).count(b"200 OK") == 6


def test_a_further_connection_takes_the_place_of_one_that_waits() -> None:
    with serving(PATIENT) as url:
        waiting = [connect(url) for _ in range(12)]
        assert b"small" in ask(url, GET_AND_CLOSE)
        assert [read_to_end(connection) for connection in waiting[:8]] == [b""] * 8
        for connection in waiting:
            connection.close()


def test_connections_that_were_answered_and_are_kept_alive_make_room_first() -> None:
    with serving(PATIENT) as url:
        fresh = connect(url)
        fresh.sendall(b"GET /small HTTP/1.1\r\nHost: localhost\r\n")
        kept = [connect(url) for _ in range(3)]
        for connection in kept:
            connection.sendall(GET)
            assert b"200 OK" in read_until(connection, b"small")
        assert b"small" in ask(url, GET_AND_CLOSE)
        assert read_to_end(kept[0]) == b""
        fresh.sendall(b"Connection: close\r\n\r\n")
        assert b"small" in read_to_end(fresh)
        for connection in (fresh, *kept):
            connection.close()


def test_a_connection_too_many_is_refused_where_all_others_are_being_answered() -> None:
    with serving(PATIENT) as url:
        busy = [connect(url) for _ in range(4)]
        for connection in busy:
            connection.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert ask(url, b"").startswith(b"HTTP/1.1 503")
        busy.pop().close()
        assert any(b"small" in ask(url, GET_AND_CLOSE) for _ in range(50))
        for connection in busy:
            connection.close()


def test_a_stream_that_is_read_stays_open_beyond_the_time_limit() -> None:
    with serving(QUICK) as url:
        answer = ask(url, b"GET /kept?small HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.count(b"\r\nx\r\n") == 40
    assert answer.endswith(b"0\r\n\r\n")


def test_a_stream_that_is_not_read_is_given_up_at_the_time_limit() -> None:
    with serving(QUICK) as url, connect(url) as connection:
        connection.sendall(b"GET /kept HTTP/1.1\r\nHost: localhost\r\n\r\n")
        threading.Event().wait(2.5)  # longer than the time limit for reading a response
        assert len(read_to_end(connection)) < 40 * 2**22
