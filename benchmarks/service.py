"""Resource use and response times of the running service while it learns.

The benchmark starts `learnd run` on the embedded default in an empty folder. While the service learns, it

- requests /metrics and runs `learnd status --json` repeatedly: p50, p99, worst. Each status runs in a new process with
  compiled modules as in an installation, whatever PYTHONDONTWRITEBYTECODE is set to;
- sums the resident size of control, learner and workers: the maximum, and the slope over the second half by least
  squares.

Run: ``python -m benchmarks.service [--minutes 20] [--json FILE] [--data-dir FOLDER]``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.progress import track

PORT = 19464
ASK_EVERY_S = 0.5
STATUS_EVERY = 5
"""Scrapes per `learnd status`, whose process competes with the learner for the cores."""

LIMITS_MS = {"metrics": 100.0, "status": 100.0}
MEMORY_LIMIT_BYTES = 2.5 * 2**30


@dataclass
class Readings:
    """The readings so far: latencies in milliseconds, and (seconds, bytes) of resident size."""

    latencies_ms: dict[str, list[float]] = field(default_factory=lambda: {"metrics": [], "status": []})
    resident: list[tuple[float, int]] = field(default_factory=list)

    def timed(self, name: str, ask: Callable[[], object]) -> None:
        """Measure the time of one answer."""
        began = time.perf_counter()
        ask()
        self.latencies_ms[name].append((time.perf_counter() - began) * 1e3)

    def report(self) -> dict[str, Any]:
        """Return percentiles, the largest memory, and its slope over the second half."""
        seconds, sizes = (np.array(column, dtype=np.float64) for column in zip(*self.resident, strict=True))
        late = seconds >= seconds[-1] / 2
        slope = float(np.polyfit(seconds[late] / 60, sizes[late] / 2**20, 1)[0])
        return {
            "minutes": round(float(seconds[-1]) / 60, 1),
            "latency_ms": {
                name: {
                    "count": len(values),
                    "p50": round(float(np.percentile(values, 50)), 1),
                    "p99": round(float(np.percentile(values, 99)), 1),
                    "worst": round(max(values), 1),
                    "limit": LIMITS_MS[name],
                }
                for name, values in self.latencies_ms.items()
            },
            "resident_mib": {
                "most": round(sizes.max() / 2**20, 1),
                "at_end": round(sizes[-1] / 2**20, 1),
                "limit": MEMORY_LIMIT_BYTES / 2**20,
                "slope_per_minute_second_half": round(slope, 3),
            },
        }


def measure(folder: Path, *, minutes: float) -> dict[str, Any]:
    """Run the service for some minutes, take readings, and return the report."""
    command = [sys.executable, "-m", "agent.cli", "run", "--data-dir", str(folder), "--listen", f"127.0.0.1:{PORT}"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.parent / "service.log"
    with log.open("wb") as output:
        service = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _wait_until_ready(service, log)
        _status(folder)  # compiles its modules before the clock starts
        readings = _read(service.pid, folder, seconds=minutes * 60)
        status = _status(folder)
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(timeout=30)
    return {**readings.report(), "families": {f["name"]: f["eval_score"] for f in status["families"]}}


def _read(pid: int, folder: Path, *, seconds: float) -> Readings:
    readings, began = Readings(), time.monotonic()
    steps = round(seconds / ASK_EVERY_S)
    for step in track(range(steps), "reading the service", console=Console(stderr=True)):
        readings.timed("metrics", lambda: _get("/metrics"))
        if step % STATUS_EVERY == 0:
            readings.timed("status", lambda: _status(folder))
        readings.resident.append((time.monotonic() - began, _resident_bytes(pid)))
        time.sleep(max(0.0, began + (step + 1) * ASK_EVERY_S - time.monotonic()))
    return readings


def _wait_until_ready(service: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and service.poll() is None:
        with contextlib.suppress(OSError):
            _get("/readyz")
            return
        time.sleep(0.05)
    raise RuntimeError(f"the service did not become ready:\n{log.read_text()}")


def _get(path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=10) as answer:
        return bytes(answer.read())


def _status(folder: Path) -> dict[str, Any]:
    command = [str(Path(sys.executable).with_name("learnd")), "status", "--json", "--data-dir", str(folder)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder.parent / "bytecode")
    answer = subprocess.run(command, check=True, capture_output=True, env=environment).stdout
    report: dict[str, Any] = json.loads(answer)
    return report


def _resident_bytes(pid: int) -> int:
    control, total = psutil.Process(pid), 0
    for process in [control, *control.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--json", type=Path, help="write the report here too")
    parser.add_argument(
        "--data-dir", type=Path, help="an empty folder that is kept, for `learnd policy eval` and the like"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(arguments.data_dir or Path(folder) / "store", minutes=arguments.minutes)
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
