"""The check of the Host header. It keeps pages of other sites from reading the service through a browser.

The attack is called DNS rebinding: another site's name resolves to the address of this service.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.daemon.http.answers import error_response
from agent.errors import AgentError

ANY_HOST = "*"
_HEADER = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+(?:%[\w.~-]+)?\]|[\w.-]+)(?::\d{1,5})?")


def host_of(header: str) -> str | None:
    """Return the host of a Host header, without port, in lower case; None if it is invalid (RFC 9110, 7.2)."""
    match = _HEADER.fullmatch(header.strip())
    return match["host"].strip("[]").rstrip(".").lower() if match else None


def is_loopback(host: str) -> bool:
    """Return whether a name or an address is a loopback one: ``localhost``, 127.0.0.0/8 or ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def answers_to_any(listen_host: str, allowed: Sequence[str]) -> bool:
    """Return whether every Host header is accepted.

    This is so if ``allowed`` has ``*``, or if it is empty and the service listens on all interfaces. Such a service
    does not know by which names clients reach the machine.
    """
    if ANY_HOST in allowed:
        return True
    return not allowed and listen_host in {"", "0.0.0.0", "::"}  # noqa: S104


class HostError(AgentError):
    """An error: the Host header names neither this machine nor an allowed host."""


class HostCheck:
    """A middleware that answers 400 unless the Host header names this machine, the listen address or an allowed host.

    A request without the header passes: only HTTP/1.0 allows that, and browsers do not use it.

    Args:
        app: the application that answers accepted requests.
        listen_host: the host part of the listen address.
        allowed: further names or addresses; ``*`` allows every name.
    """

    def __init__(self, app: ASGIApp, *, listen_host: str, allowed: Sequence[str]) -> None:
        self._app = app
        self._is_any = answers_to_any(listen_host, allowed)
        self._hosts = frozenset(name.strip("[]").rstrip(".").lower() for name in (listen_host, *allowed) if name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an accepted request to the application, or answer with status 400."""
        header = Headers(scope=scope).get("host") if scope["type"] == "http" else None
        if header is None or self._is_any or self._is_allowed(header):
            await self._app(scope, receive, send)
            return
        error = HostError(
            operation="answering the request for",
            subject=header,
            found="the Host header is not a name of this machine.",
            hint="If it is your own name for this service, list it in the setting service.allowed_hosts.",
        )
        await error_response(error, status=400)(scope, receive, send)

    def _is_allowed(self, header: str) -> bool:
        host = host_of(header)
        return host is not None and (is_loopback(host) or host in self._hosts)
