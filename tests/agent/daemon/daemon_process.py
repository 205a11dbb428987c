"""A running service for tests: real processes, a real store and the fake trainer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import psutil

from memory.folder import DataFolder
from memory.store import Store
from tests.repository import ROOT
from tests.scrape import Samples, samples_of

T = TypeVar("T")

QUICK = """
[learner]
restart_first_s = "100ms"
restart_max_s = "200ms"
"""


def heed_signals() -> None:
    """Restore the default signal handlers: a shell that runs the tests in the background makes them ignore signals."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class DaemonProcess:
    """A process with ``learnd run`` and the fake trainer."""

    def __init__(
        self,
        folder: Path,
        *,
        behaviour: str = "good",
        config: str = QUICK,
        environment: dict[str, str] | None = None,
        slice_s: float = 0.1,
        options: Sequence[str] = (),
        shell_prefix: str = "",
        is_upgraded: bool = False,
    ) -> None:
        self.folder = DataFolder(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        config_path = folder.parent / f"{folder.name}.toml"
        config_path.write_text(config)
        self.log_path = folder.parent / f"{folder.name}.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LEARND_")}
        with self.log_path.open("ab") as log:
            command = [sys.executable, "-m", "tests.agent.daemon.fake_service", "--data-dir", str(folder), "--config",
                       str(config_path), "--behaviour", behaviour, "--slice-s", str(slice_s), *options]  # fmt: skip
            command += ["--upgraded"] if is_upgraded else []
            self.process = subprocess.Popen(
                ["sh", "-c", f'{shell_prefix}exec "$@"', "sh", *command] if shell_prefix else command,
                cwd=ROOT, stderr=log, stdout=log, env=clean | (environment or {}),
                preexec_fn=heed_signals,  # noqa: PLW1509  these tests have one thread when they start a service
            )  # fmt: skip
        self.url = ""

    def __enter__(self) -> DaemonProcess:
        self.url = until(self._ready_url, "the service is ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A fake trainer that hangs does not detect the exit of the daemon.
        children = psutil.Process(self.process.pid).children() if self.process.poll() is None else []
        for process in [self.process, *children]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def _ready_url(self) -> str:
        if self.process.poll() is not None:
            raise AssertionError(f"the service ended with {self.process.returncode}:\n{self.log_path.read_text()}")
        for line in self.events():
            if line.get("event") == "ready" and line.get("process") == "control" and line["pid"] == self.process.pid:
                return str(line["url"])
        return ""

    def events(self) -> list[dict[str, Any]]:
        lines = []
        for line in self.log_path.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
        return lines

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.read().decode()

    def health(self) -> tuple[int, list[dict[str, str]]]:
        status, body = self.get("healthz")
        return status, json.loads(body)["reasons"]

    def metrics(self, name: str = "") -> Samples:
        """Return the samples of /metrics whose names begin with ``name``, by name and labels."""
        return samples_of(self.get("metrics")[1], name)

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics(name).get((name, tuple(sorted(labels.items()))), 0.0)

    def learner_pid(self) -> int:
        return until(lambda: self.folder.holder_pid("learner"), "a learner holds the folder")

    def store(self) -> Store:
        return Store.open(self.folder)

    def stop(self) -> None:
        """Stop the service with SIGTERM and wait for its exit."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)


def until(found: Callable[[], T | None], what: str, *, within_s: float = 20.0) -> T:
    """Wait until ``found()`` is true; return its result."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        result = found()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"not within {within_s} s: {what}")
