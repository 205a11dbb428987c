"""Measure the rate of good families beside families that hang, crash, leak and are slow.

One service practises two good families (CartPole-v1 and Pendulum-v1) and four others: one whose steps hang, one that
segfaults, one that leaks, and one of 60 steps a second (``benchmarks.hostile_environments``). In every second window
the four are paused. Windows of both kinds alternate, so that they meet the same stages of learning and the same load of
the machine. Consolidation is off, because it waits for all known families, within its budget of time.

Reported for each window: environment steps and updates a second of the good families, what the trainer's time went to,
the faults of the others, and the shares of the machine's processor time that the service and that other programs used;
and the ratio of the means. It is an error if one of the three that harm had no fault: then they did no harm, and the
ratio is that of six good families.

Run: ``python -m benchmarks.isolation [--windows 6] [--window-s 60] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.hostile_environments import EPISODE_STEPS, TRIP_FILE

GOOD = {"cartpole": "CartPole-v1", "pendulum": "Pendulum-v1"}
OTHERS = {
    name: f"benchmarks.hostile_environments:{name.title()}" for name in ("hanging", "segfaulting", "leaking", "slow")
}
OPTIONS = {"slow": ("--max-steps", str(EPISODE_STEPS))}
"""Options of families. With a known limit of steps, a rollout of `slow` takes 11 s; without one, 68 s."""

HARMFUL = ("hanging", "segfaulting", "leaking")
ADMISSION_S = 300.0
SETTLE_S = 5.0
SETTINGS = """
[service]
listen = "127.0.0.1:0"

[stream]
embedded_default = false

[reference]
default = "none"

[jobs]
consolidate = "off"

[workers]
memory_limit = "256MiB"
"""


@dataclass(frozen=True, kw_only=True)
class Window:
    """The readings of a window.

    Attributes:
        has_others: whether the four other families were practised too.
        seconds: its length.
        env_steps_per_s: environment steps a second of the good families.
        updates_per_s: updates a second of the good families.
        own_cpu: processor time of the service and its workers, as a share of all cores.
        foreign_cpu: processor time of all other programs, as a share of all cores.
        updates_of_slow: updates of the slow family.
        strikes: faults of the other families in the window.
        faults: the same by family.
        trainer_time: shares of the window that the trainer spent on practice of the good families, on practice of each
            other family, and on each other kind of job.
    """

    has_others: bool
    seconds: float
    env_steps_per_s: float
    updates_per_s: float
    own_cpu: float
    foreign_cpu: float
    updates_of_slow: int
    strikes: int
    faults: dict[str, int]
    trainer_time: dict[str, float]


class Service:
    """A running service on a folder.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.trip = folder / "trip"
        (folder / "learnd.toml").write_text(SETTINGS)
        self._variables = {**os.environ, TRIP_FILE: str(self.trip), "LEARND_CONFIG": str(folder / "learnd.toml")}
        self._log = (folder / "service.log").open("wb")
        self._process = self._start("run")

    def command(self, *words: str) -> Any:
        """Run a command of learnd on the folder, and return its answer."""
        process = self._start(*words, "--json", output=subprocess.PIPE)
        answer, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(
                f"learnd {' '.join(words)} failed with status {process.returncode}; see {self._log.name}"
            )
        return json.loads(answer)

    def families(self) -> dict[str, dict[str, Any]]:
        """Return the state of each family by its name."""
        return {family["name"]: family for family in self.command("status")["families"]}

    def cpu_s(self) -> float:
        """Return the processor seconds of the service and its present and former children."""
        total = 0.0
        root = psutil.Process(self._process.pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.Error):
                total += sum(process.cpu_times()[:4])
        return total

    def stop(self) -> None:
        """Stop the service."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=30)
        self._log.close()

    def _start(self, *words: str, output: int | None = None) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "agent.cli", *words, "--data-dir", str(self._folder / "store")]
        return subprocess.Popen(command, stdout=output or self._log, stderr=self._log, env=self._variables)


def measure(folder: Path, *, num_windows: int, window_s: float) -> dict[str, Any]:
    """Return the readings of all windows, and the ratios with the other families to without them."""
    service = Service(folder)
    try:
        _admit(service)
        service.trip.touch()
        windows = []
        for index in range(num_windows):
            has_others = index % 2 == 1
            for name in OTHERS:
                service.command("env", "resume" if has_others else "pause", name)
            time.sleep(SETTLE_S)
            windows.append(_read(service, window_s, has_others=has_others))
            print(windows[-1], file=sys.stderr, flush=True)
        _require_harm(windows)
        times = service.command("schedule", "list")["times"]
        states = {name: family["state"] for name, family in service.families().items()}
    finally:
        service.stop()
    return {
        "ratios": ratios(windows),
        "windows": [asdict(w) for w in windows],
        "states": states,
        "times": times,
    }


def _admit(service: Service) -> None:
    """Add the families and wait until all are admitted and practised."""
    for name, entry in {**GOOD, **OTHERS}.items():
        path = ("--path", str(Path.cwd()))
        service.command("env", "add", entry, "--name", name, *path, "--no-check", *OPTIONS.get(name, ()))
    deadline = time.monotonic() + ADMISSION_S
    while True:
        families = service.families()
        if len(families) == len(GOOD | OTHERS) and all(f["meta_updates"] > 0 for f in families.values()):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all families were practised within {ADMISSION_S:g} s: {families}")
        time.sleep(1.0)


def _read(service: Service, window_s: float, *, has_others: bool) -> Window:
    """Read a window of time."""
    before, began, cpu, busy = service.families(), time.monotonic(), service.cpu_s(), _busy_s()
    began_at = time.time()
    peak = cpu
    while time.monotonic() < began + window_s:
        time.sleep(1.0)
        peak = max(peak, service.cpu_s())
    after, seconds = service.families(), time.monotonic() - began
    cores = psutil.cpu_count() or 1
    own = (peak - cpu) / seconds / cores

    def gained(field: str, names: Sequence[str]) -> float:
        return float(sum(after[name][field] - before[name][field] for name in names))

    busy_share = (_busy_s() - busy) / seconds / cores
    runs = service.command("schedule", "list", "--runs", "3000")["runs"]
    faults = faults_of(runs, began_at, began_at + seconds)
    return Window(
        has_others=has_others,
        seconds=round(seconds, 1),
        env_steps_per_s=round(gained("env_steps", list(GOOD)) / seconds, 1),
        updates_per_s=round(gained("meta_updates", list(GOOD)) / seconds, 3),
        own_cpu=round(own, 3),
        foreign_cpu=round(busy_share - own, 3),
        updates_of_slow=int(gained("meta_updates", ["slow"])),
        strikes=sum(faults.values()),
        faults=faults,
        trainer_time=trainer_time(runs, began_at, began_at + seconds),
    )


def _busy_s() -> float:
    """Return the processor seconds that this machine has been busy."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def trainer_time(runs: Sequence[dict[str, Any]], begins_at: float, ends_at: float) -> dict[str, float]:
    """Return the shares of a time that the trainer spent on each kind of job, practice by family."""
    seconds: dict[str, float] = {}
    for run in runs:
        ended_at = ends_at if run["finished_at"] is None else run["finished_at"]
        overlap_s = min(ended_at, ends_at) - max(run["started_at"], begins_at)
        if overlap_s > 0 and run["job"] not in {"prune", "backup", "reference"}:
            name = run["job"] if run["job"] != "practise" else "good" if run["family"] in GOOD else run["family"]
            seconds[name] = seconds.get(name, 0.0) + overlap_s
    shares = {name: round(value / (ends_at - begins_at), 3) for name, value in seconds.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def faults_of(runs: Sequence[dict[str, Any]], begins_at: float, ends_at: float) -> dict[str, int]:
    """Return the faults of each other family that jobs ended with in a time."""
    faults = dict.fromkeys(OTHERS, 0)
    for run in runs:
        if run["finished_at"] is None or not begins_at <= run["finished_at"] < ends_at:
            continue
        failed = [run["family"]] if "fault" in run["detail"] else run["detail"].get("faults", {})
        for name in faults.keys() & set(failed):
            faults[name] += 1
    return faults


def _require_harm(windows: Sequence[Window]) -> None:
    """Raise if a family that harms had no fault in all windows."""
    if any(window.has_others for window in windows):
        harmless = [name for name in HARMFUL if not any(window.faults[name] for window in windows)]
        if harmless:
            raise RuntimeError(f"{harmless} had no fault: the ratios are those of good families")


def ratios(windows: Sequence[Window]) -> dict[str, float]:
    """Return the good families' mean rates beside the others, divided by their rates without them."""

    def mean(field: str, *, has_others: bool) -> float:
        values: list[float] = [getattr(window, field) for window in windows if window.has_others is has_others]
        return sum(values) / len(values)

    return {
        field: round(mean(field, has_others=True) / mean(field, has_others=False), 3)
        for field in ("env_steps_per_s", "updates_per_s")
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=6, help="number of windows; every second one has the others")
    parser.add_argument("--window-s", type=float, default=60.0)
    parser.add_argument("--json", type=Path, help="write the report here too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="learnd-isolation-") as folder:
        report = measure(Path(folder), num_windows=arguments.windows, window_s=arguments.window_s)
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
