"""A live service for tests: started, asked, killed and started again as a person would."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.command_line import run_command
from tests.scrape import Samples, samples_of

READY_TIMEOUT_S = 60.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Service:
    """`learnd run` on a data folder, as a process of its own.

    Args:
        folder: the data folder.
        config: text of a TOML file of settings.
    """

    def __init__(self, folder: Path, *, config: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self.log_path = folder.parent / f"{folder.name}.log"
        self.config_path = folder.parent / f"{folder.name}.toml"
        self.config_path.write_text(config)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it and wait until it is ready; returns the seconds that took."""
        began = time.monotonic()
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "agent.cli", "run"),
                    *("--data-dir", str(self.folder)),
                    *("--config", str(self.config_path)),
                    *("--listen", f"127.0.0.1:{self.port}"),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_for(lambda: self.http_status("/readyz") == 200, timeout_s=READY_TIMEOUT_S, what="to be ready")
        return time.monotonic() - began

    def stop(self) -> float:
        """Send SIGTERM and wait for the end; returns the seconds that took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0, self.log_tail()
        return time.monotonic() - began

    def kill(self) -> None:
        """Kill control with kill −9 and reap it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=30)

    def end(self) -> None:
        """End every process of the service, however it stands."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=30)

    def processes(self) -> list[psutil.Process]:
        assert self.process is not None
        control = psutil.Process(self.process.pid)
        return [control, *control.children(recursive=True)]

    def learner(self) -> psutil.Process | None:
        return next((p for p in self.processes()[1:] if "agent.trainer" in _command_line(p)), None)

    def workers(self) -> list[psutil.Process]:
        return [p for p in self.processes()[1:] if "gymnasium/host/__main__.py" in _command_line(p)]

    def resident_bytes(self) -> int:
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def http_status(self, path: str) -> int | None:
        try:
            return int(self.get(path)[0])
        except OSError:
            return None

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()

    def api(self, path: str) -> Any:
        """Return the answer of /api/v1. Polling this is cheaper than a command of the CLI."""
        status, body = self.get(f"/api/v1/{path}")
        assert status == 200, body
        return json.loads(body)

    def metrics(self, name: str = "") -> Samples:
        """Return the samples of /metrics whose names begin with ``name``, by name and labels."""
        return samples_of(self.get("/metrics")[1], name)

    def metric(self, name: str, **labels: str) -> float:
        """Return one sample of /metrics, 0 where it is missing. Polling this is cheaper than a command of the CLI."""
        return self.metrics(name).get((name, tuple(sorted(labels.items()))), 0.0)

    def learnd(self, *arguments: str) -> Any:
        """Run a command of the CLI on the data folder; returns its --json answer."""
        environment = {"LEARND_SERVICE__LISTEN": f"127.0.0.1:{self.port}"}
        answer = run_command(self.folder, *arguments, "--json", environment=environment)
        assert answer.exit_code == 0, answer.stderr + answer.stdout
        return json.loads(answer.stdout)

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.learnd("status")
        return answer

    def family(self, name: str) -> dict[str, Any]:
        return next(family for family in self.status()["families"] if family["name"] == name)

    def wait_for(self, holds: Callable[[], bool], *, timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, f"waited {timeout_s:g} s for the service {what}\n{self.log_tail()}"
            assert self.process is None or self.process.poll() is None, f"the service ended\n{self.log_tail()}"
            time.sleep(0.1)

    def log_tail(self) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-40:])


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@contextlib.contextmanager
def running(folder: Path, *, config: str = "") -> Iterator[Service]:
    """A ready service on a data folder, ended afterwards whatever happens."""
    service = Service(folder, config=config)
    try:
        service.start()
        yield service
    finally:
        service.end()
