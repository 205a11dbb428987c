"""The HTTP server for /metrics, /healthz, /readyz, the page and /api/v1, in the daemon's event loop."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from agent.daemon.health import Problem
from agent.daemon.http.answers import error_response
from agent.daemon.http.connections import ConnectionLimits, bounded_by
from agent.daemon.http.hosts import HostCheck
from agent.daemon.metrics.text import MetricsText
from agent.daemon.web.api import health_values
from agent.daemon.web.resources import PREFIX
from agent.errors import AgentError, ListenError

BACKLOG = 128
"""Length of the accept queue. asyncio accepts as many connections at once before the limit counts any of them."""


class UnknownPathError(AgentError):
    """An error: a request asks for a path that does not exist."""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """The sources of the pages; each is read at every request.

    Attributes:
        metrics: the metrics.
        problems: returns the reasons for red health; empty if health is good.
        state: returns the state of the service, such as "running".
    """

    metrics: MetricsText
    problems: Callable[[], Sequence[Problem]]
    state: Callable[[], str]


def new_app(endpoints: Endpoints, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application that serves the pages for monitoring, and further routes.

    Args:
        endpoints: the sources of the pages for monitoring.
        routes: the routes of the page and of /api/v1.
    """

    async def metrics(request: Request) -> Response:
        accepted = request.headers.get("accept", ""), request.headers.get("accept-encoding", "")
        answer = endpoints.metrics.answer(accept=accepted[0], accept_encoding=accepted[1])
        return Response(answer.body, headers=answer.headers)

    async def healthz(_: Request) -> Response:
        found = endpoints.problems()
        return JSONResponse(health_values(found), status_code=503 if found else 200)

    async def readyz(_: Request) -> Response:
        state = endpoints.state()
        return JSONResponse({"status": state}, status_code=200 if state == "running" else 503)

    async def unknown_path(request: Request, _: Exception) -> Response:
        error = UnknownPathError(
            operation="answering the request for",
            subject=request.url.path,
            found="there is no such path.",
            hint=f"{PREFIX} lists the paths of the interface.",
        )
        return error_response(error, status=404)

    pages = {"/metrics": metrics, "/healthz": healthz, "/readyz": readyz}
    return Starlette(
        routes=[*(Route(path, page) for path, page in pages.items()), *routes], exception_handlers={404: unknown_path}
    )


class _Server(uvicorn.Server):
    """A uvicorn server that installs no signal handlers; the daemon handles signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield


class HttpServer:
    """An HTTP server that listens on one address.

    Args:
        app: the application that serves the pages.
        host: host to listen on; empty for all interfaces.
        port: port to listen on; 0 for any free port.
        allowed_hosts: values of the Host header that are accepted in addition to ``host`` and this machine's own names.
        limits: the limits of connections.

    Raises:
        ListenError: the server cannot listen on the address.
    """

    def __init__(
        self,
        app: ASGIApp,
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
        """The listen address as HOST:PORT."""
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def is_serving(self) -> bool:
        """True if requests are answered."""
        return self._server.started

    async def serve(self) -> None:
        """Answer requests until :meth:`stop`."""
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Stop answering requests."""
        self._server.should_exit = True

    def close(self) -> None:
        """Close the socket and free the address."""
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
            hint="Choose another address with --listen or LEARND_SERVICE__LISTEN (port 0 takes any free port).",
        ) from error
