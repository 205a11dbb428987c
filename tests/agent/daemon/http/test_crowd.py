"""The running service under thousands of idle connections, and under an upgrade of its files."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.daemon.daemon_process import DaemonProcess, until
from tests.agent.daemon.http_client import ask, connect

NUM_IDLE = 1200
"""More than the descriptors of the narrowest of the usual limits (1,024), and than the connections that are served."""
MAX_LOG_BYTES = 200_000


@pytest.fixture
def _many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < NUM_IDLE + 500:
        pytest.skip("the hard limit of open files here is too low")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, NUM_IDLE + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_many_descriptors")
@pytest.mark.parametrize(
    ("limit", "num_idle"), [("", NUM_IDLE), ("ulimit -n 1024; ", NUM_IDLE), ("ulimit -n 128; ", 500)]
)
def test_many_idle_connections_stop_neither_the_pages_nor_learning(tmp_path: Path, limit: str, num_idle: int) -> None:
    with DaemonProcess(tmp_path / "data", shell_prefix=limit) as service, contextlib.ExitStack() as stack:
        learner = service.learner_pid()
        idle = [stack.enter_context(_connected(service.url)) for _ in range(num_idle)]
        for connection in idle[::3]:
            with contextlib.suppress(OSError):
                connection.sendall(b"GET /metrics HTTP/1.1\r\n")
        for page in ("metrics", "healthz", "readyz"):
            assert service.get(page)[0] == 200
        practised = service.metric("learnd_trials_total", family="bandits")
        until(lambda: service.metric("learnd_trials_total", family="bandits") > practised, "learning goes on")
        stack.close()
        assert service.get("metrics")[0] == 200
        assert service.learner_pid() == learner
        assert service.process.poll() is None
        assert service.log_path.stat().st_size < MAX_LOG_BYTES


def _connected(url: str) -> socket.socket:
    """Connect; wait as long as the queue of connections is full."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return connect(url)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def test_requests_that_are_no_http_write_a_bounded_log(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as service:
        before = service.log_path.stat().st_size
        for _ in range(300):
            assert b"400" in ask(service.url, b"\x16\x03\x01\r\n\r\n")
            ask(service.url, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\nUpgrade: h2c\r\n\r\n")
        assert service.log_path.stat().st_size - before < 20_000
        assert service.health() == (200, [])


def test_a_page_of_another_site_cannot_read_the_service_through_a_browser(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as service:
        for path in (b"/metrics", b"/healthz", b"/readyz", b"/", b"/nothing"):
            request = b"GET " + path + b" HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
            assert ask(service.url, request).startswith(b"HTTP/1.1 400")


def test_an_upgrade_under_the_running_service_does_not_end_it(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data", behaviour="good", is_upgraded=True) as service:
        until(lambda: service.metric("learnd_trials_total", family="pendulum"), "practice goes on")
        assert service.health() == (200, [])
        with service.store() as store:
            status = until(store.daemon_status.get, "the status is written")
            assert status["state"] == "running"
        for job in ("prune", "backup"):
            with service.store() as store:
                request = store.requests.add("run_job", {"job": job, "family": None})
                outcome = until(lambda request=request: store.requests.status(request).outcome, f"{job} has run")
                assert outcome == "succeeded"
        service.stop()
        assert service.process.returncode == 0
