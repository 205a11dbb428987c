"""Measure what scrapes of /metrics cost beside training, with few and with many families.

A service trains one family of bandits. The store also has paused families with totals, curves and losses, so that a
scrape has their series. For each number of families the benchmark measures

- latency of one scraper with pauses in between, and of 20 scrapers at once: p50, p99, worst
- CPU-milliseconds of the daemon per scrape: those of windows with scrapes minus those of windows without
- updates of the training per second and per CPU-second of the trainer, in windows with 20 scrapers of one scrape a
  second each, and without, by turns; the loss has its standard error over blocks of four windows

Scrapers ask as Prometheus does: OpenMetrics, gzip, a connection that is kept.

With ``--against FOLDER``, the checkout of another version, the services of both versions run in turns on stores of the
same content: while one is measured, the processes of the other are stopped. So both share the load of the machine.

Run: ``python -m benchmarks.scrape [--families 7 1000] [--blocks 8] [--window-s 5] [--against FOLDER] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from envs.family import FamilySource, FamilySpec
from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint, FamilyState
from memory.store import Store

PORT = 19465
"""The port of the service; the other version has the next one."""

HEADERS = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
LIMITS_MS = {"one scraper": 50.0, "20 at once": 250.0}
SLOWED_LIMIT = 0.02
LOSSES = ("policy", "value", "entropy", "kl", "clip_fraction", "gradient_norm", "explained_variance")
NUM_EPISODES = 4
TRAINED = "family-0000"
NUM_LONE, NUM_AT_ONCE, NUM_ROUNDS = 200, 20, 10
"""Scrapes of one scraper; scrapers at once, and their rounds."""

SETTLING_S = 20.0
"""Time after the first slice, in which the trainer warms up."""

TURN_S = 2.0
"""Time for which a service runs alone before it is measured."""

SETTINGS = """
[practise]
slice_s = 0.2

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

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.latencies_ms: list[float] = []

    def scrape(self) -> bytes:
        """Take and keep the time of one scrape; return its compressed text."""
        began = time.perf_counter()
        self._connection.request("GET", "/metrics", headers=HEADERS)
        body = self._connection.getresponse().read()
        self.latencies_ms.append((time.perf_counter() - began) * 1e3)
        return body


class Service:
    """A running service that trains one of many families.

    Args:
        parent: an empty folder for its files.
        num_families: number of families.
        port: its port.
        checkout: the folder of its version.
    """

    def __init__(self, parent: Path, *, num_families: int, port: int, checkout: Path) -> None:
        self.port = port
        self.folder, config = parent / "data", parent / "learnd.toml"
        fill(self.folder, num_families)
        config.write_text(SETTINGS)
        words = ["run", "--data-dir", str(self.folder), "--config", str(config), "--listen", f"127.0.0.1:{port}"]
        with (parent / "log").open("wb") as output:
            # In a session of its own: Linux shares the CPU among sessions, so the scrapers take none from the trainer.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agent.cli", *words],
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=checkout,
            )
        self.root = psutil.Process(self._process.pid)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        for process in (self.root, *self.root.children(recursive=True)):
            process.send_signal(number)

    def stop(self) -> None:
        """Stop the service."""
        self.send(signal.SIGCONT)
        self._process.terminate()
        self._process.wait(timeout=30)


def latency(values: Sequence[float]) -> dict[str, float]:
    """Return the percentiles of latencies in milliseconds."""
    percentiles = {f"p{q}": round(float(np.percentile(values, q)), 1) for q in (50, 99)}
    return {"count": len(values), **percentiles, "worst": round(max(values), 1)}


def one_after_another(port: int, count: int) -> list[float]:
    """Scrape ``count`` times, with pauses that do not keep step with the daemon's own periods; return the latencies."""
    scraper, generator = Scraper(port), np.random.default_rng(0)
    for _ in range(count):
        scraper.scrape()
        time.sleep(float(generator.uniform(0.05, 0.35)))
    return scraper.latencies_ms


def at_once(port: int, num_scrapers: int, rounds: int) -> list[float]:
    """Let ``num_scrapers`` scrape at the same moment, ``rounds`` times; return the latencies."""
    scrapers, barrier = [Scraper(port) for _ in range(num_scrapers)], threading.Barrier(num_scrapers)

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
    return [value for scraper in scrapers for value in scraper.latencies_ms]


@dataclass(frozen=True, kw_only=True)
class Window:
    """A time with scrapes or without.

    Attributes:
        is_scraped: whether scrapers scraped.
        began: its start, in seconds since the epoch.
        ended: its end.
        num_scrapes: number of scrapes.
        daemon_cpu_s: CPU time of the daemon.
        trainer_cpu_s: CPU time of the trainer.
    """

    is_scraped: bool
    began: float
    ended: float
    num_scrapes: int
    daemon_cpu_s: float
    trainer_cpu_s: float


def window(service: Service, *, seconds: float, num_scrapers: int) -> Window:
    """Let so many scrapers scrape once a second each for that time; return what the time cost."""
    scrapers, is_over = [Scraper(service.port) for _ in range(num_scrapers)], threading.Event()

    def work(scraper: Scraper) -> None:
        while not is_over.is_set():
            scraper.scrape()
            is_over.wait(1.0)

    threads = [threading.Thread(target=work, args=(scraper,)) for scraper in scrapers]
    before, began = _cpu_s(service.root), time.time()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    after, ended = _cpu_s(service.root), time.time()
    is_over.set()
    for thread in threads:
        thread.join()
    return Window(
        is_scraped=num_scrapers > 0,
        began=began,
        ended=ended,
        num_scrapes=sum(len(scraper.latencies_ms) for scraper in scrapers),
        daemon_cpu_s=after[0] - before[0],
        trainer_cpu_s=after[1] - before[1],
    )


def _cpu_s(service: psutil.Process) -> tuple[float, float]:
    """Return the CPU-seconds of the daemon and of its trainer."""
    daemon, trainer = service.cpu_times(), service.children()[0].cpu_times()
    return daemon.user + daemon.system, trainer.user + trainer.system


def block(service: Service, *, window_s: float, num_scrapers: int) -> list[Window]:
    """Return four windows: without scrapes, with them twice, and without. A steady drift cancels among them."""
    return [
        window(service, seconds=window_s, num_scrapers=num_scrapers * is_on) for is_on in (False, True, True, False)
    ]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The amount of measuring.

    Attributes:
        num_blocks: number of blocks of four windows.
        window_s: length of a window.
        num_scrapers: scrapers in the windows, each of which scrapes once a second.
    """

    num_blocks: int
    window_s: float
    num_scrapers: int


@dataclass(kw_only=True)
class Measured:
    """The measurements of one service.

    Attributes:
        blocks: the blocks of windows.
        lone_ms: latencies of one scraper.
        crowd_ms: latencies of 20 scrapers at once.
    """

    blocks: list[list[Window]] = field(default_factory=list)
    lone_ms: list[float] = field(default_factory=list)
    crowd_ms: list[float] = field(default_factory=list)


def measure(num_families: int, plan: Plan, checkouts: Sequence[Path]) -> list[dict[str, Any]]:
    """Run a service of each version with that many families, measure them by turns, and return a report of each."""
    with contextlib.ExitStack() as stack:
        services = []
        for number, checkout in enumerate(checkouts):
            parent = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            service = Service(parent, num_families=num_families, port=PORT + number, checkout=checkout)
            stack.callback(service.stop)
            services.append(service)
        texts = [_wait_for_training(service.port) for service in services]
        time.sleep(SETTLING_S)
        load = os.getloadavg()[0]
        measured = by_turns(services, plan)
        updates = [committed_updates(service.folder) for service in services]
    return [
        {
            "version": str(checkout),
            "families": num_families,
            "series": sum(not line.startswith("#") for line in text.decode().splitlines()),
            "bytes": {"text": len(text), "gzip": len(gzip.compress(text, 1))},
            "latency_ms": {"one scraper": latency(of.lone_ms), "20 at once": latency(of.crowd_ms), "limits": LIMITS_MS},
            "load_before": round(load, 2),
            "scrapers": plan.num_scrapers,
            **compared(of.blocks, done),
        }
        for checkout, text, of, done in zip(checkouts, texts, measured, updates, strict=True)
    ]


def by_turns(services: Sequence[Service], plan: Plan) -> list[Measured]:
    """Measure every service, the others of which are stopped meanwhile: forwards, then backwards, and so on."""
    measured = [Measured() for _ in services]
    turns = list(zip(services, measured, strict=True))
    for number in range(plan.num_blocks):
        for service, of in turns if number % 2 == 0 else turns[::-1]:
            with _alone(service, services):
                of.blocks.append(block(service, window_s=plan.window_s, num_scrapers=plan.num_scrapers))
                of.lone_ms += one_after_another(service.port, -(-NUM_LONE // plan.num_blocks))
                of.crowd_ms += at_once(service.port, NUM_AT_ONCE, -(-NUM_ROUNDS // plan.num_blocks))
    return measured


@contextlib.contextmanager
def _alone(service: Service, services: Sequence[Service]) -> Iterator[None]:
    """Stop the processes of the other services meanwhile."""
    others = [other for other in services if other is not service]
    for other in others:
        other.send(signal.SIGSTOP)
    if others:
        time.sleep(TURN_S)
    yield
    for other in others:
        other.send(signal.SIGCONT)


def committed_updates(folder: Path) -> list[tuple[float, int]]:
    """Return when each slice was committed, and the family's number of updates then."""
    with Store.open(DataFolder(folder), is_reader=True) as store:
        points = store.curves.points(TRAINED, CurveMetric.TRIAL_RETURN)
    return [(point.at, point.meta_updates) for point in points]


def compared(blocks: Sequence[Sequence[Window]], updates: Sequence[tuple[float, int]]) -> dict[str, Any]:
    """Return the means of the windows with scrapes and without, and what scrapes cost.

    Args:
        blocks: windows that are compared with each other.
        updates: times, and the number of updates that were done by then; between two times it grows evenly.
    """
    rates = [[_rates(found, updates) for found in block] for block in blocks]
    windows = [
        (found, rate) for block, of in zip(blocks, rates, strict=True) for found, rate in zip(block, of, strict=True)
    ]
    means = {
        on: {
            key: float(np.mean([rate[key] for found, rate in windows if found.is_scraped is on])) for key in rates[0][0]
        }
        for on in (False, True)
    }
    extra_ms = means[True]["daemon_cpu_ms_per_s"] - means[False]["daemon_cpu_ms_per_s"]
    return {
        "daemon_cpu_ms_per_scrape": round(extra_ms / means[True]["scrapes_per_s"], 3),
        "training": {
            "without_scrapes": {key: round(value, 3) for key, value in means[False].items()},
            "with_scrapes": {key: round(value, 3) for key, value in means[True].items()},
            "slowed_by": _slowed(blocks, rates, "updates_per_s"),
            "slowed_by_per_trainer_cpu_s": _slowed(blocks, rates, "updates_per_trainer_cpu_s"),
            "limit": SLOWED_LIMIT,
        },
    }


def _rates(found: Window, updates: Sequence[tuple[float, int]]) -> dict[str, float]:
    at, done = zip(*updates, strict=True)
    first, last = np.interp([found.began, found.ended], at, done)
    passed = found.ended - found.began
    return {
        "updates_per_s": float(last - first) / passed,
        "updates_per_trainer_cpu_s": float(last - first) / max(found.trainer_cpu_s, 1e-9),
        "trainer_cpu_ms_per_s": 1e3 * found.trainer_cpu_s / passed,
        "daemon_cpu_ms_per_s": 1e3 * found.daemon_cpu_s / passed,
        "scrapes_per_s": found.num_scrapes / passed,
    }


def _slowed(
    blocks: Sequence[Sequence[Window]], rates: Sequence[Sequence[dict[str, float]]], key: str
) -> dict[str, float]:
    """Return the loss of a rate by scrapes: the mean over blocks with its standard error."""

    def mean(block: Sequence[Window], of: Sequence[dict[str, float]], *, is_on: bool) -> float:
        return float(np.mean([rate[key] for found, rate in zip(block, of, strict=True) if found.is_scraped is is_on]))

    losses = [
        1 - mean(block, of, is_on=True) / mean(block, of, is_on=False) for block, of in zip(blocks, rates, strict=True)
    ]
    error = float(np.std(losses, ddof=1)) / len(losses) ** 0.5 if len(losses) > 1 else float("nan")
    return {"mean": round(float(np.mean(losses)), 4), "standard_error": round(error, 4)}


def _wait_for_training(port: int) -> bytes:
    """Return a text of the metrics once the family trains."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            text = gzip.decompress(Scraper(port).scrape())
        except OSError:
            time.sleep(0.1)
            continue
        if f'learnd_gradient_norm{{family="{TRAINED}"}}'.encode() in text:
            return text
        time.sleep(0.5)
    raise RuntimeError("the service does not train")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=int, nargs="+", default=[7, 1000])
    parser.add_argument("--blocks", type=int, default=8, help="blocks of four windows")
    parser.add_argument("--window-s", type=float, default=5.0)
    parser.add_argument("--scrapers", type=int, default=20, help="scrapers in the windows, each once a second")
    parser.add_argument("--against", type=Path, help="checkout of another version, which is measured by turns")
    parser.add_argument("--json", type=Path, help="write the report here too")
    arguments = parser.parse_args()
    plan = Plan(num_blocks=arguments.blocks, window_s=arguments.window_s, num_scrapers=arguments.scrapers)
    checkouts = [Path(__file__).parents[1], *([arguments.against] if arguments.against else [])]
    reports = [report for number in arguments.families for report in measure(number, plan, checkouts)]
    text = json.dumps(reports, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
