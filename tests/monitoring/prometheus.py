"""Debian's Prometheus and Alertmanager on loopback, scraping a service and calling a webhook, for tests."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from tests.service import free_port

PROMETHEUS = {
    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
    "rule_files": ["recording.yml", "alerts.yml"],
}


DURATION = re.compile(r"(?<=\[)\d+[smhd](?=\])|(?<=\bfor: )\d+[smhd]\b")
"""Durations of a rule: the range of a selector, and how long an alert is pending."""

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DAY = re.compile(r"\b86400\b")
"""A day in seconds, as `predict_linear` takes it."""


def shortened(rules: str, factor: int) -> str:
    """Return rules in which every duration is ``factor`` times shorter, so that they keep their structure."""

    def shorter(found: re.Match[str]) -> str:
        text = found.group()
        return f"{int(text[:-1]) * SECONDS[text[-1]] * 1000 // factor}ms"

    return DAY.sub(str(86400 // factor), DURATION.sub(shorter, rules))


Alert = tuple[str, dict[str, str]]
"""The name of an alert with its labels."""


class Webhook:
    """A receiver of Alertmanager's messages.

    Attributes:
        alerts: (name, labels, status) of each alert of each message, in the order in which they arrived.
    """

    def __init__(self) -> None:
        self.alerts: list[tuple[str, dict[str, str], str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.alerts += [(a["labels"]["alertname"], a["labels"], a["status"]) for a in message["alerts"]]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def is_firing(self, name: str, labels: dict[str, str]) -> bool:
        """Return whether an alert of that name fires with at least these labels."""
        return any(found == name and labels.items() <= of.items() for found, of in self.firing())

    def firing(self) -> list[Alert]:
        """Return the alerts whose newest message says that they fire."""
        newest = {(name, tuple(sorted(labels.items()))): status for name, labels, status in self.alerts}
        return [(name, dict(labels)) for (name, labels), status in newest.items() if status == "firing"]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Monitoring:
    """Prometheus with the rules of a folder, and Alertmanager with a webhook.

    Args:
        folder: an empty folder for their files.
        rules: the folder with recording.yml and alerts.yml.
        factor: how many times shorter the durations of the rules are.
        target: HOST:PORT of the service to scrape.
        webhook: where alerts go.
    """

    def __init__(self, folder: Path, *, rules: Path, factor: int, target: str, webhook: Webhook) -> None:
        self._folder = folder
        self._target = target
        self.url = f"http://127.0.0.1:{free_port()}"
        self._alertmanager = f"127.0.0.1:{free_port()}"
        for name in PROMETHEUS["rule_files"]:
            (folder / name).write_text(shortened((rules / name).read_text(), factor))
        self._write_config(target)
        route = {"receiver": "hook", "group_wait": "0s", "group_interval": "1s", "group_by": ["..."]}
        hook = {"name": "hook", "webhook_configs": [{"url": webhook.url, "send_resolved": True}]}
        (folder / "alertmanager.yml").write_text(yaml.safe_dump({"route": route, "receivers": [hook]}))

    def _write_config(self, *targets: str) -> None:
        config = {
            **PROMETHEUS,
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [self._alertmanager]}]}]},
            "scrape_configs": [
                {"job_name": "learnd", "honor_labels": True, "static_configs": [{"targets": list(targets)}]}
            ],
        }
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    @contextlib.contextmanager
    def without_target(self) -> Iterator[None]:
        """Have Prometheus scrape nothing within the block."""
        self._scrape()
        try:
            yield
        finally:
            self._scrape(self._target)

    def _scrape(self, *targets: str) -> None:
        self._write_config(*targets)
        self._processes[0].send_signal(signal.SIGHUP)

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def __enter__(self) -> Monitoring:
        folder = self._folder
        self._log = (folder / "log").open("wb")
        self._processes = [
            self._start("prometheus", f"--config.file={folder / 'prometheus.yml'}",
                        f"--storage.tsdb.path={folder / 'data'}",
                        f"--web.listen-address={self.url.removeprefix('http://')}"),
            self._start("prometheus-alertmanager", f"--config.file={folder / 'alertmanager.yml'}",
                        f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address={self._alertmanager}",
                        "--cluster.listen-address="),
        ]  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(timeout=30)
        self._log.close()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression now.

        Raises:
            urllib.error.HTTPError: Prometheus does not understand it.
        """
        words = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{words}", timeout=10) as answer:
            result: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
        return result

    def has(self, expression: str) -> bool:
        """Whether an expression has series now; False while Prometheus does not answer."""
        try:
            return bool(self.query(expression))
        except OSError:
            return False


def wait_for(holds: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.3)
