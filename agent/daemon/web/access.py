"""Access to the page and to /api/v1: read only, and with a token wherever other machines can reach the service.

The pages for monitoring (/metrics, /healthz, /readyz) stay open, unless ``service.protect_metrics`` asks for the token
there too.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.config.token_file import MOST_TOKEN_BYTES, token_line
from agent.daemon.http.answers import SECURITY_HEADERS, error_response
from agent.daemon.http.hosts import is_loopback
from agent.daemon.web.page import CONTENT_POLICY
from agent.errors import AgentError

COOKIE = "learnd_session"
SESSION_S = 30 * 86400
LEAST_TOKEN_CHARS = 16
MONITORING = frozenset({"/metrics", "/healthz", "/readyz"})
LOGIN = "/login"
STATIC = "/static/"


class AccessError(AgentError):
    """An error: a request may not have what it asks for."""


@dataclass(frozen=True, kw_only=True)
class AccessRules:
    """The rules of access.

    Attributes:
        listen_host: the host that the service listens on.
        token_file: the file with the token; None if there is none.
        protects_monitoring: whether the pages for monitoring need the token too.
    """

    listen_host: str
    token_file: Path | None = None
    protects_monitoring: bool = False

    @property
    def is_open(self) -> bool:
        """Return whether no token is needed: only this machine can reach the service, and there is no token file."""
        return self.token_file is None and is_loopback(self.listen_host)


def read_token(path: Path) -> str:
    """Return the token in a file: its first line, without surrounding blanks.

    Raises:
        AccessError: the file cannot be read, or the token is too short or too long.
    """
    hint = "Write a long random line into it: `openssl rand -hex 32`."
    try:
        line = token_line(path)
        token = line.decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise AccessError(
            operation="reading the token file", subject=str(path), found=f"{reason}.", hint=hint
        ) from error
    if len(token) >= LEAST_TOKEN_CHARS and len(line) <= MOST_TOKEN_BYTES:
        return token
    is_short = len(token) < LEAST_TOKEN_CHARS
    limit = f"fewer than {LEAST_TOKEN_CHARS} characters" if is_short else f"more than {MOST_TOKEN_BYTES} bytes"
    raise AccessError(
        operation="reading the token file", subject=str(path), found=f"its first line has {limit}.", hint=hint
    )


class AccessCheck:
    """A middleware that refuses writing methods, requests of other sites, and requests without the token.

    Args:
        app: the application that answers accepted requests.
        rules: the rules of access.
        wall: the wall clock, in seconds since the epoch.
    """

    def __init__(self, app: ASGIApp, rules: AccessRules, *, wall: Callable[[], float] = time.time) -> None:
        self._app = app
        self._rules = rules
        self._wall = wall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an accepted request to the application, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._answer(Request(scope))
        await (answer or self._app)(scope, receive, send)

    def _answer(self, request: Request) -> Response | None:
        """Return the answer to a request that is refused or that logs in; None if the application is to answer."""
        if request.method not in {"GET", "HEAD"}:
            return _refusal(405, "learnd answers GET and HEAD only.", allow="GET, HEAD")
        path = request.url.path
        is_api = path.startswith("/api/")
        if is_api and request.headers.get("sec-fetch-site", "none") == "cross-site":
            return _refusal(403, "the request comes from a page of another site.")
        if path.startswith(STATIC) or (path in MONITORING and not self._rules.protects_monitoring):
            return None
        if self._rules.is_open:
            return None if path != LOGIN else Response(status_code=204, headers=SECURITY_HEADERS)
        if self._rules.token_file is None:
            return self._without_token(is_page=path == "/")
        try:
            token = read_token(self._rules.token_file)
        except AccessError as error:
            return error_response(error, status=503)
        return self._with_token(request, token)

    def _with_token(self, request: Request, token: str) -> Response | None:
        has_header = _is_bearer(request.headers, token)
        if request.url.path == LOGIN:
            return self._log_in(token) if has_header else _unauthorised()
        if has_header or self._is_session(request.headers, token):
            return None
        if request.url.path == "/":
            return HTMLResponse(LOGIN_PAGE, status_code=401, headers=_page_headers())
        return _unauthorised()

    def _without_token(self, *, is_page: bool) -> Response:
        found = "other machines can reach the service, and no token is set."
        hint = "Name a file with a token in the setting service.token_file, or listen on 127.0.0.1."
        if is_page:
            return HTMLResponse(CLOSED_PAGE, status_code=403, headers=_page_headers())
        return _refusal(403, found, hint=hint)

    def _log_in(self, token: str) -> Response:
        expires = int(self._wall()) + SESSION_S
        answer = Response(status_code=204, headers={"cache-control": "no-store", **SECURITY_HEADERS})
        answer.set_cookie(
            COOKIE, f"{expires}.{_signature(token, expires)}", max_age=SESSION_S, httponly=True, samesite="strict"
        )
        return answer

    def _is_session(self, headers: Headers, token: str) -> bool:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        expires, _, signature = ("" if morsel is None else morsel.value).partition(".")
        if not (expires.isascii() and expires.isdecimal() and len(expires) < 12) or int(expires) < self._wall():
            return False
        return hmac.compare_digest(signature.encode(), _signature(token, int(expires)).encode())


def _signature(token: str, expires: int) -> str:
    return hmac.new(token.encode(), f"learnd session until {expires}".encode(), hashlib.sha256).hexdigest()


def _is_bearer(headers: Headers, token: str) -> bool:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    # Header values are Latin-1 in ASGI; a client sends a token in UTF-8.
    return scheme.lower() == "bearer" and hmac.compare_digest(
        given.strip().encode("latin-1", "replace"), token.encode()
    )


def _refusal(status: int, found: str, *, hint: str = "", allow: str = "") -> Response:
    error = AccessError(operation="answering the request", subject="", found=found, hint=hint)
    return error_response(error, status=status, headers={"allow": allow} if allow else None)


def _unauthorised() -> Response:
    error = AccessError(
        operation="answering the request",
        subject="",
        found="the token is missing or wrong.",
        hint="Send the header `Authorization: Bearer TOKEN` with the content of the setting service.token_file.",
    )
    return error_response(error, status=401, headers={"www-authenticate": 'Bearer realm="learnd"'})


def _page_headers() -> dict[str, str]:
    return {"cache-control": "no-store", "content-security-policy": CONTENT_POLICY, **SECURITY_HEADERS}


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>learnd</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/page.css">
{head}</head>
<body class="gate"><main><h1>learnd</h1>
{body}</main></body>
</html>
"""
LOGIN_PAGE = _PAGE.format(
    head='<script type="module" src="/static/js/login.js"></script>\n',
    body="""<form id="login">
<label for="token">Token</label>
<input id="token" type="password" autocomplete="current-password" required autofocus>
<button>Open</button>
<p id="answer" role="status"></p>
<p class="hint">The token is the first line of the file that the setting <code>service.token_file</code> names.</p>
</form>
""",
)
CLOSED_PAGE = _PAGE.format(
    head="",
    body="""<p>Other machines can reach this service, and no token is set, so this page is closed.</p>
<p class="hint">Name a file with a token in the setting <code>service.token_file</code>, or listen on 127.0.0.1.
<a href="/metrics">/metrics</a> and <a href="/healthz">/healthz</a> are open.</p>
""",
)
