"""The cost of confining a worker at its start: with isolation and without it, in turn.

``python -m benchmarks.confinement [--starts 20]`` prints the medians. The time of the processor counts the supervisor
and the worker from their start to their end, without the trainer's own.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from envs.family import FamilySource, FamilySpec
from envs.gymnasium.batch import WorkerTaskBatch
from envs.gymnasium.isolation_plan import isolation_plan
from envs.gymnasium.working_folder import WorkingFolder
from envs.limits import WorkerLimits

SPEC = FamilySpec(name="cartpole", source=FamilySource.GYMNASIUM, entry="CartPole-v1")

TIMED = """
import json, sys, time
from envs.gymnasium.isolation.confinement import confine
begun, cpu = time.perf_counter(), time.process_time()
confine(json.loads(sys.argv[1]))
print(time.perf_counter() - begun, time.process_time() - cpu)
"""


def started(limits: WorkerLimits) -> tuple[float, float]:
    """Start a worker and end it; return the seconds until its first answer, and the seconds of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    with closing(WorkerTaskBatch(SPEC, num_trials=1, device="cpu", limits=limits)):
        wall_s = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def confined(limits: WorkerLimits) -> tuple[float, float]:
    """Confine a process; return the seconds of the confinement alone, and those of the processor."""
    with closing(WorkingFolder(SPEC)) as folder:
        arguments = [sys.executable, "-c", TIMED, json.dumps(isolation_plan(SPEC, limits, folder))]
        wall_s, cpu_s = subprocess.check_output(arguments, text=True, cwd=Path(__file__).parents[1]).split()
    return float(wall_s), float(cpu_s)


def main() -> None:
    """Measure, and print the medians in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=20)
    starts = parser.parse_args().starts
    with tempfile.TemporaryDirectory() as store:
        Path(store, "learnd.db").touch()
        isolated = WorkerLimits(hidden=(store,))
        ways: dict[str, Callable[[], tuple[float, float]]] = {
            "start, isolated": lambda: started(isolated),
            "start, not isolated": lambda: started(WorkerLimits(is_isolated=False)),
            "confinement alone": lambda: confined(isolated),
        }
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(starts):
            for name, measure in ways.items():
                measured[name].append(measure())
    for name, pairs in measured.items():
        wall, cpu = (1e3 * statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"{name:22} {wall:8.1f} ms, processor {cpu:8.1f} ms")


if __name__ == "__main__":
    main()
