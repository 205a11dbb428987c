"""/metrics, /healthz, /readyz and an index page, in control's own event loop."""

from __future__ import annotations

import contextlib
import html
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from agent.daemon.connections import ConnectionLimits, bounded_by
from agent.daemon.health import Problem
from agent.daemon.hosts import HostCheck
from agent.errors import ListenError
from agent.output.visible_text import visible

BACKLOG = 128
"""Connections that wait to be accepted; asyncio accepts as many at once, before any of them is counted."""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """What the pages are made of, asked at each request.

    Attributes:
        registry: the metrics.
        problems: why health is red; empty when it is not.
        state: what the service does ("running").
        summary: what it does now, in one line.
    """

    registry: CollectorRegistry
    problems: Callable[[], Sequence[Problem]]
    state: Callable[[], str]
    summary: Callable[[], str]


def new_app(answers: Endpoints) -> Starlette:
    """The pages."""

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(answers.registry), headers={"content-type": content_type})

    async def healthz(_: Request) -> Response:
        found = answers.problems()
        reasons = [{"reason": p.reason, "found": visible(p.found), "hint": visible(p.hint)} for p in found]
        body = {"status": "red" if found else "ok", "reasons": reasons}
        return JSONResponse(body, status_code=503 if found else 200)

    async def readyz(_: Request) -> Response:
        state = answers.state()
        return JSONResponse({"status": state}, status_code=200 if state == "running" else 503)

    async def index(_: Request) -> Response:
        return HTMLResponse(_index_page(answers))

    pages = {"/": index, "/metrics": metrics, "/healthz": healthz, "/readyz": readyz}
    return Starlette(routes=[Route(path, page) for path, page in pages.items()])


def _index_page(answers: Endpoints) -> str:
    found = answers.problems()
    health = "".join(f"<li>{html.escape(visible(str(problem)))}</li>" for problem in found)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>learnd</title></head>
<body><h1>learnd</h1>
<p>{html.escape(answers.state())}: {html.escape(visible(answers.summary()))}</p>
{f"<p>Health is red:</p><ul>{health}</ul>" if found else "<p>Health is good.</p>"}
<ul><li><a href="/metrics">/metrics</a>: for Prometheus</li>
<li><a href="/healthz">/healthz</a>: 200 when well, else 503 with the reasons</li>
<li><a href="/readyz">/readyz</a>: 200 while it serves</li></ul>
</body></html>
"""


class _Server(uvicorn.Server):
    """uvicorn without hands on the process's signals, which the daemon handles."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class HttpServer:
    """The pages on an address.

    Args:
        app: the pages.
        host: to listen on; empty for all interfaces.
        port: to listen on; 0 for any free one.
        allowed_hosts: what else than ``host`` and this machine's own names a Host header may name.
        limits: what connections may use.

    Raises:
        ListenError: the address cannot be listened on.
    """

    def __init__(
        self,
        app: Starlette,
        *,
        host: str,
        port: int,
        allowed_hosts: Sequence[str] = (),
        limits: ConnectionLimits | None = None,
    ) -> None:
        self._socket = _listening_socket(host, port)
        config = uvicorn.Config(
            HostCheck(app, listen_host=host, allowed=allowed_hosts),
            http=bounded_by(limits or ConnectionLimits()),
            ws="none",
            backlog=BACKLOG,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            timeout_keep_alive=30,
        )
        self._server = _Server(config)

    @property
    def address(self) -> str:
        """HOST:PORT that is listened on."""
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def is_serving(self) -> bool:
        """Whether requests are answered."""
        return self._server.started

    async def serve(self) -> None:
        """Answer until :meth:`stop`."""
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Answer no more."""
        self._server.should_exit = True

    def close(self) -> None:
        """Give the address back."""
        self._socket.close()


def _listening_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(
            operation="listening on",
            subject=f"{host}:{port}",
            found=f"{error.strerror or error}.",
            hint="Choose another with --listen or LEARND_SERVICE__LISTEN (port 0 takes any free one).",
        ) from error
