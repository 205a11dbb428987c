"""The HTTP server, in the daemon's event loop."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from agent.daemon.http.connections import ConnectionLimits, bounded_by
from agent.daemon.http.hosts import HostCheck
from agent.errors import ListenError

BACKLOG = 128
"""Length of the accept queue. asyncio accepts as many connections at once before the limit counts any of them."""


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
