"""Case: the service is started by nohup, and its terminal is closed."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cases.conftest import Learnd

pytestmark = pytest.mark.slow

READY_S = 60.0


def _heed_hang_ups() -> None:
    """Undo what a shell may do to what it starts in the background, which the tests may be."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def _running(learnd: Learnd, log: Path, *before: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the service until it is ready, and end it afterwards."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*before, *learnd.command("run", "--for", "60")],
            env=learnd.variables(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            preexec_fn=_heed_hang_ups,  # noqa: PLW1509  these tests have one thread
        )
    try:
        deadline = time.monotonic() + READY_S
        while " ready " not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_service_started_by_nohup_outlives_the_hang_up(learnd: Learnd, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with _running(learnd, log, "nohup") as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(6)  # a service that stops is gone by then
        assert process.poll() is None
        assert "stopping" not in log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_a_service_in_a_session_without_a_terminal_outlives_it_too(learnd: Learnd, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with _running(learnd, log, "setsid") as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(6)
        assert process.poll() is None
        assert "settings reloaded" in log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
