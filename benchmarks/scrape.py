"""Measure what scrapes of /metrics cost beside training, with few and with many families.

A service trains one family of bandits. The store also has paused families with totals, curves and losses, so that a
scrape has their series. For each number of families the benchmark measures

- latency of one scraper with pauses in between, and of 20 scrapers at once: p50, p99, worst
- CPU-milliseconds of the daemon per scrape: those of a window with scrapes minus those of one without
- environment steps a second of the training in alternating windows with a scrape each second and without

Scrapers ask as Prometheus does: OpenMetrics, gzip, a connection that is kept.

Run: ``python -m benchmarks.scrape [--families 7 1000] [--windows 6] [--window-s 10] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from envs.family import FamilySource, FamilySpec
from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint, FamilyState
from memory.store import Store

PORT = 19465
HEADERS = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
LIMITS_MS = {"one scraper": 50.0, "20 at once": 250.0}
SLOWED_LIMIT = 0.02
LOSSES = ("policy", "value", "entropy", "kl", "clip_fraction", "gradient_norm", "explained_variance")
NUM_EPISODES = 4
SETTINGS = """
[learner]
nice = 0

[stream]
embedded_default = false

[evaluation]
paused_every = "off"

[jobs]
consolidate = "off"
evaluate = "off"
backup = "off"
prune = "off"
"""


def fill(folder: Path, num_families: int) -> None:
    """Make a store with one family to train and ``num_families - 1`` paused ones that have curves."""
    with Store.open(DataFolder(folder)) as store:
        for number in range(num_families):
            name = f"family-{number:04}"
            store.families.add(FamilySpec(name=name, source=FamilySource.TENSOR, entry="bernoulli_bandits"))
            if number == 0:
                continue
            store.families.admit(name, spaces={}, random_return=0.0, reference_return=1.0)
            store.curves.commit_evaluation(name, _points(number))
            store.families.set_state(name, FamilyState.PAUSED)


def _points(number: int) -> list[CurvePoint]:
    """Return the newest points of a family that was practised and evaluated."""
    generator = np.random.default_rng(number)
    single = (
        *(CurveMetric.EVAL_SCORE, CurveMetric.EVAL_RETURN, CurveMetric.TRIAL_RETURN, CurveMetric.FORGETTING),
        *(CurveMetric.PERFORMANCE, CurveMetric.REHEARSAL_KL, CurveMetric.REHEARSAL_SHARE),
    )
    return [
        *(CurvePoint(metric=metric, value=float(generator.normal())) for metric in single),
        *(CurvePoint(metric=CurveMetric.LOSS, label=part, value=float(generator.normal())) for part in LOSSES),
        *(
            CurvePoint(metric=CurveMetric.EPISODE_RETURN, label=str(episode), value=float(generator.normal()))
            for episode in range(NUM_EPISODES)
        ),
    ]


class Scraper:
    """A scraper with a connection of its own."""

    def __init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
        self.latencies_ms: list[float] = []

    def scrape(self) -> bytes:
        """Take and keep the time of one scrape; return its text."""
        began = time.perf_counter()
        self._connection.request("GET", "/metrics", headers=HEADERS)
        body = self._connection.getresponse().read()
        self.latencies_ms.append((time.perf_counter() - began) * 1e3)
        return gzip.decompress(body)


def latency(scrapers: Sequence[Scraper]) -> dict[str, float]:
    """Return the percentiles of all scrapes of the scrapers."""
    values = [value for scraper in scrapers for value in scraper.latencies_ms]
    percentiles = {f"p{q}": round(float(np.percentile(values, q)), 1) for q in (50, 99)}
    return {"count": len(values), **percentiles, "worst": round(max(values), 1)}


def one_after_another(count: int) -> dict[str, float]:
    """Scrape ``count`` times, with pauses that do not keep step with the daemon's own periods."""
    scraper, generator = Scraper(), np.random.default_rng(0)
    for _ in range(count):
        scraper.scrape()
        time.sleep(float(generator.uniform(0.05, 0.35)))
    return latency([scraper])


def at_once(num_scrapers: int, rounds: int) -> dict[str, float]:
    """Let ``num_scrapers`` scrape at the same moment, ``rounds`` times."""
    scrapers, barrier = [Scraper() for _ in range(num_scrapers)], threading.Barrier(num_scrapers)

    def work(scraper: Scraper) -> None:
        for _ in range(rounds):
            barrier.wait()
            scraper.scrape()
            time.sleep(1.1)

    threads = [threading.Thread(target=work, args=(scraper,)) for scraper in scrapers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latency(scrapers)


def window(service: psutil.Process, *, seconds: float, with_scrapes: bool) -> dict[str, float]:
    """Return steps a second, steps per CPU-second of the trainer, and CPU-milliseconds of the daemon in a window."""
    scraper = Scraper()
    before, began = _state(scraper, service), time.monotonic()
    count = 0
    while (left := seconds - (time.monotonic() - began)) > 0:
        time.sleep(min(1.0, left))
        if with_scrapes:
            scraper.scrape()
            count += 1
    passed = time.monotonic() - began
    after = _state(scraper, service)
    steps, daemon_s, trainer_s = (late - early for early, late in zip(before, after, strict=True))
    return {
        "steps_per_s": steps / passed,
        "steps_per_trainer_cpu_s": steps / max(trainer_s, 1e-9),
        "daemon_cpu_ms_per_s": 1e3 * daemon_s / passed,
        "scrapes_per_s": count / passed,
    }


def _state(scraper: Scraper, service: psutil.Process) -> tuple[float, float, float]:
    """Return the steps practised, and the CPU-seconds of the daemon and of its trainer."""
    text = scraper.scrape().decode()
    line = next(line for line in text.splitlines() if line.startswith('learnd_env_steps_total{family="family-0000"}'))
    daemon, trainer = service.cpu_times(), service.children()[0].cpu_times()
    return float(line.split()[-1]), daemon.user + daemon.system, trainer.user + trainer.system


def measure(num_families: int, *, num_windows: int, window_s: float) -> dict[str, Any]:
    """Run a service with that many families and return what was measured."""
    with tempfile.TemporaryDirectory() as parent:
        folder, config = Path(parent) / "data", Path(parent) / "learnd.toml"
        fill(folder, num_families)
        config.write_text(SETTINGS)
        command = [sys.executable, "-m", "agent.cli", "run", "--data-dir", str(folder), "--config", str(config)]
        with (Path(parent) / "log").open("wb") as output:
            service = subprocess.Popen([*command, "--listen", f"127.0.0.1:{PORT}"], stdout=output, stderr=output)
        try:
            text = _wait_for_training()
            windows: dict[bool, list[dict[str, float]]] = {True: [], False: []}
            for number in range(num_windows):
                is_on = number % 2 == 1
                windows[is_on].append(window(psutil.Process(service.pid), seconds=window_s, with_scrapes=is_on))
            lone, crowd = one_after_another(200), at_once(20, 10)
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(timeout=30)
    return {
        "families": num_families,
        "series": sum(not line.startswith("#") for line in text.decode().splitlines()),
        "bytes": {"text": len(text), "gzip": len(gzip.compress(text, 1))},
        "latency_ms": {"one scraper": lone, "20 at once": crowd, "limits of p99": LIMITS_MS},
        **_compared(windows),
    }


def _compared(windows: dict[bool, list[dict[str, float]]]) -> dict[str, Any]:
    """Return the means of the windows with scrapes and without, and what scrapes cost."""
    means = {on: {key: float(np.mean([w[key] for w in found])) for key in found[0]} for on, found in windows.items()}
    extra_ms = means[True]["daemon_cpu_ms_per_s"] - means[False]["daemon_cpu_ms_per_s"]
    slowed = 1 - means[True]["steps_per_s"] / means[False]["steps_per_s"]
    return {
        "daemon_cpu_ms_per_scrape": round(extra_ms / means[True]["scrapes_per_s"], 2),
        "training": {
            "without_scrapes": {key: round(value, 2) for key, value in means[False].items()},
            "one_scrape_a_second": {key: round(value, 2) for key, value in means[True].items()},
            "slowed_by": round(slowed, 4),
            "limit": SLOWED_LIMIT,
        },
    }


def _wait_for_training() -> bytes:
    """Return a text of the metrics once the family trains."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            text = Scraper().scrape()
        except OSError:
            time.sleep(0.1)
            continue
        if b'learnd_gradient_norm{family="family-0000"}' in text:
            return text
        time.sleep(0.5)
    raise RuntimeError("the service does not train")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=int, nargs="+", default=[7, 1000])
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--window-s", type=float, default=10.0)
    parser.add_argument("--json", type=Path, help="write the report here too")
    arguments = parser.parse_args()
    reports = [
        measure(num_families, num_windows=arguments.windows, window_s=arguments.window_s)
        for num_families in arguments.families
    ]
    text = json.dumps(reports, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
