"""Search of context keys: the exact index of the product beside usearch's approximate one, beside a busy training.

For each number of keys (64 numbers each, 20 trials per task) it measures build time, memory, and the time of single
queries for 8 neighbours: wall-clock p50 and p99, CPU time as mean and p99, and the mean CPU time as a multiple of one
pass over the keys (a dot product of the keys with themselves, which is bound by memory). Recall is the share of the
true 8 neighbours. usearch is no dependency: without it (``pip install usearch==2.26.6``) the table has the exact index
alone.

Run: ``python -m benchmarks.retrieval [--sizes 100000 1000000] [--idle] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from memory.retrieval.index import ContextIndex, Floats, Ids

WIDTH = 64
NUM_NEIGHBOURS = 8
TRIALS_PER_TASK = 20
TRAINING = """
import time, torch
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.training import EagerTraining
from envs.default_families import default_stream
from envs.registry import open_tasks
torch.set_num_threads(1)
tasks = open_tasks(default_stream()[0], None, num_trials=256, device="cpu")
learner = RL2Learner(RL2Config(), device=torch.device("cpu"), seed=0)
learner.add_family("bandits", tasks.spaces)
training, first = EagerTraining(learner, "bandits", tasks), 0
print("busy", flush=True)
while True:
    training.learn(training.play(first))
    first += 256
"""

COLUMNS = {
    "build_cpu_s": "build CPU-s",
    "size_mb": "MB",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cpu_ms": "CPU ms",
    "p99_cpu_ms": "p99 CPU ms",
    "passes": "passes",
    "recall": "recall",
}

Search = Callable[[Floats], Ids]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One index at one size.

    Attributes:
        index: name of the index with its settings.
        num_keys: number of keys.
        build_cpu_s: CPU-seconds of adding all keys.
        size_mb: memory of the index.
        p50_ms, p99_ms: wall-clock time of one query.
        cpu_ms, p99_cpu_ms: CPU time of one query, which does not count waiting for a core.
        passes: ``cpu_ms`` as a multiple of one pass over the keys.
        recall: share of the true neighbours.
    """

    index: str
    num_keys: int
    build_cpu_s: float
    size_mb: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    p99_cpu_ms: float
    passes: float
    recall: float


def main() -> None:
    """Measure and print the table, or the reliability."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--usearch-up-to", type=int, default=1_000_000, help="largest size; it is built slowly")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--idle", action="store_true", help="without a training beside it")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: list[Measurement] = []
    with training(is_idle=options.idle):
        for size in options.sizes:
            found += measured(size, options.queries, with_usearch=size <= options.usearch_up_to)
            _show(found[-1:])
    _show(found)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1))


@contextmanager
def training(*, is_idle: bool) -> Iterator[None]:
    """Run a training in a process of its own, on one thread, until the end of the block."""
    if is_idle:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", TRAINING], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def measured(size: int, num_queries: int, *, with_usearch: bool) -> list[Measurement]:
    """Measure the indexes at one size."""
    keys, queries = drawn(size, num_queries)
    truth = true_neighbours(keys, queries)
    flat = keys.ravel()
    pass_s = min(_cpu_s(lambda: flat @ flat) for _ in range(5))
    build_s, index = _timed(lambda: exact_index(keys))
    size_mb = index.size_bytes / 1e6
    search: Search = lambda query: index.nearest(query[None], NUM_NEIGHBOURS)[0][0] - 1  # noqa: E731
    given: dict[str, Any] = {"keys": keys, "queries": queries, "truth": truth, "pass_s": pass_s}
    found = [_measurement("exact", build_s=build_s, size_mb=size_mb, search=search, **given)]
    if with_usearch:
        found += usearch_measurements(**given)
    return found


def drawn(size: int, num_queries: int) -> tuple[Floats, Floats]:
    """Return keys [size, D] of tasks with several trials each, and queries: further trials of these tasks."""
    draw = np.random.default_rng(0)
    tasks = draw.normal(size=(size // TRIALS_PER_TASK, WIDTH)).astype(np.float32)
    of_key, of_query = draw.integers(len(tasks), size=size), draw.integers(len(tasks), size=num_queries)
    noise = np.float32(0.5)
    keys = tasks[of_key] + noise * draw.standard_normal((size, WIDTH), dtype=np.float32)
    return keys, tasks[of_query] + noise * draw.standard_normal((num_queries, WIDTH), dtype=np.float32)


def true_neighbours(keys: Floats, queries: Floats) -> list[set[int]]:
    """Return the nearest keys of each query, by differences in double precision."""
    found = []
    for query in queries:
        rough = ((keys - query) ** 2).sum(1)
        rows = np.argpartition(rough, 4 * NUM_NEIGHBOURS)[: 4 * NUM_NEIGHBOURS]
        exact = ((keys[rows].astype(np.float64) - query) ** 2).sum(1)
        found.append({int(row) for row in rows[np.argsort(exact)[:NUM_NEIGHBOURS]]})
    return found


def exact_index(keys: Floats) -> ContextIndex:
    """Return the product's index, filled in portions of 1,000 as from the store."""
    index = ContextIndex(WIDTH)
    for start in range(0, len(keys), 1_000):
        part = keys[start : start + 1_000]
        ids = np.arange(start, start + len(part)) + 1
        index.add(ids, [int(number).to_bytes(16, "little") for number in ids], part)
    return index


def usearch_measurements(*, keys: Floats, queries: Floats, truth: list[set[int]], pass_s: float) -> list[Measurement]:
    """Measure usearch at several expansions of the search; nothing if it is not installed."""
    try:
        from usearch.index import Index
    except ImportError:
        return []
    index: Any = Index(ndim=WIDTH, metric="l2sq", dtype="f32")
    numbers = np.arange(len(keys), dtype=np.uint64)
    build_s, _ = _timed(lambda: index.add(numbers, keys, threads=1))
    given: dict[str, Any] = {"keys": keys, "queries": queries, "truth": truth, "pass_s": pass_s}
    found = []
    for expansion in (64, 256, 1024):
        index.expansion_search = expansion
        search: Search = lambda query: index.search(query, NUM_NEIGHBOURS, threads=1).keys.astype(np.int64)  # noqa: E731
        name, size_mb = f"usearch, {expansion}", index.memory_usage / 1e6
        found.append(_measurement(name, build_s=build_s, size_mb=size_mb, search=search, **given))
    return found


def _measurement(
    name: str,
    *,
    keys: Floats,
    build_s: float,
    size_mb: float,
    queries: Floats,
    search: Search,
    truth: list[set[int]],
    pass_s: float,
) -> Measurement:
    wall, cpu, hits = [], [], 0
    for query, expected in zip(queries, truth, strict=True):
        started, cpu_started = time.perf_counter(), time.process_time()
        ids = search(query)
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - cpu_started)
        hits += len(expected & set(ids.tolist()))
    cpu_s = float(np.mean(cpu))
    return Measurement(
        index=name,
        num_keys=len(keys),
        build_cpu_s=build_s,
        size_mb=size_mb,
        p50_ms=float(np.median(wall)) * 1e3,
        p99_ms=float(np.quantile(wall, 0.99)) * 1e3,
        cpu_ms=cpu_s * 1e3,
        p99_cpu_ms=float(np.quantile(cpu, 0.99)) * 1e3,
        passes=cpu_s / pass_s,
        recall=hits / (len(queries) * NUM_NEIGHBOURS),
    )


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    made = work()
    return time.process_time() - started, made


def _cpu_s(work: Callable[[], object]) -> float:
    return _timed(work)[0]


def _show(found: list[Measurement]) -> None:
    table = Table("index", "keys", *COLUMNS.values())
    for one in found:
        values = (
            one.build_cpu_s,
            one.size_mb,
            one.p50_ms,
            one.p99_ms,
            one.cpu_ms,
            one.p99_cpu_ms,
            one.passes,
            one.recall,
        )
        table.add_row(one.index, f"{one.num_keys:,}", *(f"{value:.2f}" for value in values))
    Console().print(table)


if __name__ == "__main__":
    main()
