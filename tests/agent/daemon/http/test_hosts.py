"""The check of the Host header: accepted and refused names."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from agent.config.loading import load_settings
from agent.config.settings import Settings
from agent.daemon.http.hosts import HostCheck, host_of
from agent.daemon.web.values import Failed
from agent.errors import SettingsError


def _answer(host: str | None, *, listen: str = "127.0.0.1", allowed: Sequence[str] = ()) -> tuple[int, bytes]:
    """Return the status and the body of the answer to a request with this Host header; None sends no header."""
    told: list[Message] = []

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("page")(scope, receive, send)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        told.append(message)

    headers = [] if host is None else [(b"host", host.encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    asyncio.run(HostCheck(page, listen_host=listen, allowed=allowed)(scope, receive, send))
    return int(told[0]["status"]), bytes(told[1]["body"])


def _status(host: str | None, *, listen: str = "127.0.0.1", allowed: Sequence[str] = ()) -> int:
    return _answer(host, listen=listen, allowed=allowed)[0]


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("localhost", "localhost"),
        ("LocalHost.:9464", "localhost"),
        ("127.0.0.1:9464", "127.0.0.1"),
        ("[::1]:9464", "::1"),
        ("[::1]", "::1"),
        ("::1", None),
        ("", None),
        ("localhost:port", None),
        ("local host", None),
        ("a@localhost", None),
        ("localhost/evil", None),
    ],
)
def test_a_host_header_is_read_without_its_port(header: str, host: str | None) -> None:
    assert host_of(header) == host


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9464", "127.0.0.1:9464", "127.5.5.5", "[::1]:9464", "LOCALHOST."]
)
def test_this_machines_own_names_are_answered(host: str) -> None:
    assert _status(host) == 200
    assert _status(host, listen="10.0.0.5") == 200
    assert _status(host, allowed=["learnd.example.org"]) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9464",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.6",
        "[::2]",
        "x y",
    ],
)
def test_other_names_are_refused(host: str) -> None:
    assert _status(host) == 400
    assert _status(host, listen="10.0.0.5") == 400
    assert _status(host, listen="0.0.0.0", allowed=["learnd.example.org"]) == 400


def test_the_refusal_of_a_name_is_json_that_names_the_setting() -> None:
    status, body = _answer("evil.example:9464")
    error = Failed.model_validate_json(body).error
    assert (status, error.subject) == (400, "evil.example:9464")
    assert "service.allowed_hosts" in error.hint


def test_a_request_without_the_header_passes_as_http_1_0_has_none() -> None:
    assert _status(None) == 200
    assert _status("") == 400


def test_the_address_that_is_listened_on_and_allowed_hosts_are_answered() -> None:
    assert _status("10.0.0.5:9464", listen="10.0.0.5") == 200
    assert _status("[fe80::1]:9464", listen="fe80::1") == 200
    assert _status("Learnd.Example.Org:80", allowed=["learnd.example.org"]) == 200
    assert _status("[2001:db8::1]", allowed=["[2001:db8::1]"]) == 200
    assert _status("anything.example", allowed=["*"]) == 200


@pytest.mark.parametrize("listen", ["", "0.0.0.0", "::"])
def test_a_service_on_all_interfaces_answers_to_any_name_unless_some_are_allowed(listen: str) -> None:
    assert _status("learnd.lan:9464", listen=listen) == 200
    assert _status("learnd.lan:9464", listen=listen, allowed=["other.lan"]) == 400


def test_allowed_hosts_are_read_from_a_variable_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARND_SERVICE__ALLOWED_HOSTS", "learnd.lan, 10.0.0.5, ::1, [::1], *")
    assert load_settings().service.allowed_hosts == ("learnd.lan", "10.0.0.5", "::1", "[::1]", "*")
    assert Settings().service.allowed_hosts == ()
    for wrong in ("http://learnd.lan", "learnd.lan:9464", "a b", "a/b"):
        monkeypatch.setenv("LEARND_SERVICE__ALLOWED_HOSTS", wrong)
        with pytest.raises(SettingsError, match="without scheme and port"):
            load_settings()
