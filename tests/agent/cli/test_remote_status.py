"""``learnd status --url``: the answer of a service whose data folder may not be read, and its errors."""

from __future__ import annotations

import asyncio
import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from agent.daemon.http.server import HttpServer
from agent.daemon.web.access import AccessRules
from memory.folder import DataFolder
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.daemon.web.conftest import OPEN, Site
from tests.service import free_port

TOKEN = "correct-horse-battery-staple"


@contextmanager
def serving(folder: DataFolder, rules: AccessRules = OPEN) -> Iterator[str]:
    """Serve the pages of a service on a data folder; yield their address."""
    site = Site(folder, rules)
    server = HttpServer(site.app, host="127.0.0.1", port=0)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        yield f"http://{server.address}"
    finally:
        server.stop()
        thread.join()
        server.close()
        site.close()


@contextmanager
def another(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """Serve one answer to every request, as another program would; yield its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def _error(learnd: Learnd, *arguments: str) -> dict[str, str]:
    error: dict[str, str] = learnd.json("status", *arguments, code=1)["error"]
    return error


def test_the_answer_of_a_service_is_that_of_its_data_folder(learnd: Learnd, empty: Learnd, filled: DataFolder) -> None:
    row = {"pid": os.getpid(), "state": "running", "started_at": 5.0, "listen": "127.0.0.1:9464", "reasons": []}
    with Store.open(filled) as store, filled.hold():
        store.daemon_status.set(row)
        with serving(filled) as url:
            assert empty.json("status", "--url", url) == learnd.json("status")
            assert empty.json("status", "--url", f"{url}/") == learnd.json("status")
            page = empty("status", "--url", url.removeprefix("http://")).stdout
    assert page.startswith("learnd running")
    assert "cartpole" in page


def test_a_token_is_sent_from_its_file(empty: Learnd, filled: DataFolder, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(f"{TOKEN}\n")
    with serving(filled, AccessRules(listen_host="0.0.0.0", token_file=token_file)) as url:
        assert empty.json("status", "--url", url, "--token-file", str(token_file))["state"] == "running"
        error = _error(empty, "--url", url)
        assert "token is missing or wrong" in error["found"]
        assert "--token-file" in error["hint"]


def test_a_service_without_a_token_that_other_machines_reach_says_what_to_set(
    empty: Learnd, filled: DataFolder
) -> None:
    with serving(filled, AccessRules(listen_host="0.0.0.0")) as url:
        assert "service.token_file" in _error(empty, "--url", url)["hint"]


def test_a_refused_connection_is_told_with_the_address(empty: Learnd) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    error = _error(empty, "--url", url)
    assert (error["subject"], error["found"]) == (url, "Connection refused.")
    assert "whether the service runs" in error["hint"]


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b"{}", b'{"state": "running"}', b"\xff"])
def test_another_service_is_not_taken_for_learnd(body: bytes, empty: Learnd) -> None:
    with another(HTTPStatus.OK, body) as url:
        assert _error(empty, "--url", url)["found"] == "the answer is not learnd's."


def test_an_address_without_the_interface_is_not_learnd(empty: Learnd) -> None:
    with another(HTTPStatus.NOT_FOUND, b"no such page") as url:
        assert "not learnd" in _error(empty, "--url", url)["found"]


def test_a_refused_name_of_the_host_names_the_setting(empty: Learnd) -> None:
    with another(HTTPStatus.BAD_REQUEST, b"The Host header ...") as url:
        assert "service.allowed_hosts" in _error(empty, "--url", url)["hint"]


def test_the_token_is_not_taken_to_another_address_by_a_redirect(empty: Learnd, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with (
        another(HTTPStatus.OK, b"{}") as target,
        another(HTTPStatus.FOUND, b"", Location=target) as url,
    ):
        found = _error(empty, "--url", url, "--token-file", str(tmp_path / "token"))["found"]
    assert found == "it answered with status 302."


@pytest.mark.parametrize(
    "url", ["ftp://localhost", "http://", "http://a:b@localhost", "http://localhost:port", "http://h?q"]
)
def test_what_is_no_address_is_refused(url: str, empty: Learnd) -> None:
    assert _error(empty, "--url", url)["hint"] == "Write http://HOST:PORT."


def test_a_token_file_that_cannot_be_read_is_named(empty: Learnd, tmp_path: Path) -> None:
    error = _error(empty, "--url", "http://127.0.0.1:1", "--token-file", str(tmp_path / "none"))
    assert error["subject"] == str(tmp_path / "none")


def test_a_token_file_without_an_address_is_a_wrong_option(empty: Learnd, tmp_path: Path) -> None:
    assert "--url" in empty("status", "--token-file", str(tmp_path / "x"), code=2).stderr
