"""Which names the service answers to: a page of another site must not read it through a browser (DNS rebinding)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

ANY_HOST = "*"
_HEADER = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+(?:%[\w.~-]+)?\]|[\w.-]+)(?::\d{1,5})?")


def host_of(header: str) -> str | None:
    """Return the host that a Host header names, without port, in lower case; None where it is none (RFC 9110, 7.2)."""
    match = _HEADER.fullmatch(header.strip())
    return match["host"].strip("[]").rstrip(".").lower() if match else None


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def answers_to_any(listen_host: str, allowed: Sequence[str]) -> bool:
    """Return whether every Host header is taken: where it is asked for, or all interfaces are listened on.

    By which names others reach a machine that listens on all interfaces is not known to it, so they are only checked
    where the settings name some.
    """
    if ANY_HOST in allowed:
        return True
    return not allowed and listen_host in {"", "0.0.0.0", "::"}  # noqa: S104


class HostCheck:
    """Endpoints 400 to requests whose Host header names neither this machine, the listen address nor an allowed host.

    A request without the header passes: only HTTP/1.0 can be without it, which no browser speaks.

    Args:
        app: what answers the others.
        listen_host: the host part of the address that is listened on.
        allowed: further names or addresses; ``*`` allows every one.
    """

    def __init__(self, app: ASGIApp, *, listen_host: str, allowed: Sequence[str]) -> None:
        self._app = app
        self._is_any = answers_to_any(listen_host, allowed)
        self._hosts = frozenset(name.strip("[]").rstrip(".").lower() for name in (listen_host, *allowed) if name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        header = Headers(scope=scope).get("host") if scope["type"] == "http" else None
        if header is None or self._is_any or self._is_allowed(header):
            await self._app(scope, receive, send)
            return
        refusal = PlainTextResponse(
            "The Host header names neither this machine nor a name of the setting service.allowed_hosts.\n",
            status_code=400,
        )
        await refusal(scope, receive, send)

    def _is_allowed(self, header: str) -> bool:
        host = host_of(header)
        return host is not None and (is_loopback(host) or host in self._hosts)
