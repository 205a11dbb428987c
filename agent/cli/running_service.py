"""A running learnd that answers over HTTP, for users who may not read its data folder."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from agent.config.token_file import token_line

TIMEOUT_S = 5.0
_MAX_BYTES = 16_384
_MAX_PAGE_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class HealthAnswer:
    """An answer of /healthz.

    Attributes:
        status: the HTTP status; 200 if the service is healthy.
        text: the content.
    """

    status: int
    text: str

    @property
    def is_healthy(self) -> bool:
        """Return whether the service is healthy."""
        return self.status == http.client.OK

    @property
    def is_of_learnd(self) -> bool:
        """Return whether learnd answered, and no other program that listens on the address."""
        try:
            values = json.loads(self.text)
        except ValueError:
            return False
        return isinstance(values, dict) and values.get("status") in {"ok", "red"} and "reasons" in values


def authorization(token_file: Path) -> dict[str, str]:
    """Return the header with the token in a file: its first line.

    A header takes Latin-1, in which the bytes of UTF-8 are written.

    Raises:
        OSError: the file cannot be read.
    """
    token = token_line(token_file).decode("utf-8", errors="replace").strip().encode().decode("latin-1")
    return {"authorization": f"Bearer {token}"}


def ask_health(
    listen: str, *, headers: Mapping[str, str] = MappingProxyType({}), timeout_s: float = TIMEOUT_S
) -> HealthAnswer:
    """Return the answer of /healthz at an address, asked with these headers.

    Raises:
        OSError: nothing answers.
        http.client.HTTPException: the answer is no HTTP.
    """
    status, text = ask(listen, "/healthz", headers=headers, timeout_s=timeout_s, max_bytes=_MAX_BYTES)
    return HealthAnswer(status=status, text=text.strip())


def ask(
    listen: str,
    path: str,
    *,
    headers: Mapping[str, str] = MappingProxyType({}),
    timeout_s: float = TIMEOUT_S,
    max_bytes: int = _MAX_PAGE_BYTES,
) -> tuple[int, str]:
    """Return the status and the content of a path at an address.

    Raises:
        OSError: nothing answers.
        http.client.HTTPException: the answer is no HTTP.
    """
    host, _, port = listen.rpartition(":")
    connection = http.client.HTTPConnection(_reachable_host(host.strip("[]")), int(port), timeout=timeout_s)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read(max_bytes).decode(errors="replace")
    finally:
        connection.close()


def running_at(listen: str) -> str | None:
    """Return a sentence on the learnd that answers at an address; None if none does."""
    try:
        answer = ask_health(listen, timeout_s=2.0)
    except (OSError, http.client.HTTPException):
        return None
    if not answer.is_of_learnd:
        return None
    return f"A running learnd answers at {url_of(listen)} and is {'' if answer.is_healthy else 'not '}healthy."


def url_of(listen: str) -> str:
    """Return the address as a URL that a browser on this machine can open."""
    host, _, port = listen.rpartition(":")
    reachable = _reachable_host(host.strip("[]"))
    return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}/"


def _reachable_host(host: str) -> str:
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- compared, not bound
