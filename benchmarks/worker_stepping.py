"""The cost of a worker: steps/s through ``WorkerTaskBatch`` compared with the same environments in a plain loop.

There are two plain loops, with random actions drawn in advance:

- ``wrapped`` steps the result of ``gymnasium.make`` (without its checker);
- ``bare`` steps the unwrapped environments with a time limit counted by hand, the most that this machine's Python can
  do.

Both reset as soon as an episode has ended. There are two ways through workers, at the loops' own niceness:

- ``worker`` steps one batch and waits for it;
- ``halves`` runs two workers of half the batch concurrently: one steps while the other's results are processed.

Loops run in turns, several rounds each; medians are compared. Rates are given per wall second and per CPU-second of the
processes that step environments. On a machine that does other work too, only the latter shows the cost of a worker.

Run: ``python benchmarks/worker_stepping.py [--seconds S] [--rounds N] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import psutil
import torch

from envs.family import FamilySource, FamilySpec, Split
from envs.gymnasium.batch import WorkerTaskBatch
from envs.limits import WorkerLimits

ENTRIES = ("CartPole-v1", "Acrobot-v1")
SIZES = (1, 16, 64)
DRAWN = 1024
TICK_S = 0.01
"""The kernel's unit for another process's CPU time; a worker that got no time may have used none yet."""
LOOPS = ("wrapped", "bare", "worker", "halves")
Loop = Callable[[float], tuple[float, float]]
"""A function that runs for some seconds.

It returns steps per wall second, and per CPU-second of the stepping processes.
"""


def main() -> None:
    """Measure every cell and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one round of one loop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{'environment':12} {'B':>3} {'per':>8}"
        + "".join(f"{name + '/s':>12}" for name in LOOPS)
        + "  worker/wrapped /bare"
    )
    results = []
    for entry in ENTRIES:
        for size in SIZES:
            result = measure(entry, size, arguments.seconds, arguments.rounds)
            results.append(result)
            for clock in ("wall", "cpu"):
                rates = result[clock]
                cells = "".join(f"{rates[name]:12.0f}" for name in LOOPS)
                ratios = f"{rates['worker'] / rates['wrapped']:16.3f} {rates['worker'] / rates['bare']:5.3f}"
                print(f"{entry:12} {size:3} {clock:>8}{cells}{ratios}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def measure(entry: str, size: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Return medians of the loops, which run in turns so that other programs affect all of them equally."""
    one, two = Workers(entry, [size]), Workers(entry, [max(1, size // 2)] * 2)
    loops: dict[str, Loop] = {
        "wrapped": raw_loop(entry, size, is_bare=False),
        "bare": raw_loop(entry, size, is_bare=True),
        "worker": one.run,
        "halves": two.run,
    }
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for loop in loops.values():
        loop(0.1)
    for _ in range(rounds):
        for name, loop in loops.items():
            rates[name].append(loop(seconds))
    one.close()
    two.close()
    wall = {name: statistics.median(rate for rate, _ in values) for name, values in rates.items()}
    cpu = {name: statistics.median(rate for _, rate in values) for name, values in rates.items()}
    return {"environment": entry, "size": size, "wall": wall, "cpu": cpu}


def raw_loop(entry: str, size: int, *, is_bare: bool) -> Loop:
    """Return a loop over ``size`` environments in this process."""
    envs = [gymnasium.make(entry, disable_env_checker=True) for _ in range(size)]
    spec = envs[0].spec
    limit = (spec.max_episode_steps if spec else None) or 0
    stepped = [env.unwrapped if is_bare else env for env in envs]
    generator = torch.Generator().manual_seed(0)
    choices = int(envs[0].action_space.n)  # type: ignore[attr-defined]
    actions = torch.randint(choices, (DRAWN, size), generator=generator).tolist()

    def run(seconds: float) -> tuple[float, float]:
        for env in stepped:
            env.reset(seed=0)
        elapsed, steps, start, start_cpu = [0] * size, 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            row_actions = actions[(steps // size) % DRAWN]
            for i, env in enumerate(stepped):
                _, _, terminated, truncated, _ = env.step(row_actions[i])
                if is_bare:
                    elapsed[i] += 1
                    truncated = elapsed[i] >= limit
                if terminated or truncated:
                    env.reset()
                    elapsed[i] = 0
            steps += size
        return steps / (time.perf_counter() - start), steps / (time.process_time() - start_cpu)

    return run


class Workers:
    """A group of one or two workers, stepped in turns."""

    def __init__(self, entry: str, sizes: list[int]) -> None:
        spec = FamilySpec(name="measured", source=FamilySource.GYMNASIUM, entry=entry)
        limits = WorkerLimits(nice=0)
        self._batches = [WorkerTaskBatch(spec, num_trials=size, device="cpu", limits=limits) for size in sizes]
        generator = torch.Generator().manual_seed(0)
        choices = self._batches[0].spaces.action.choices[0]
        self._actions = torch.randint(choices, (DRAWN, sizes[0]), generator=generator)
        self._active = torch.ones(sizes[0], dtype=torch.bool)

    def run(self, seconds: float) -> tuple[float, float]:
        """Step for this many seconds; return steps per wall second, and per CPU-second of the workers."""
        for batch in self._batches:
            batch.begin(0, split=Split.TRAINING)
        cycles, start, start_cpu = 0, time.perf_counter(), self._cpu_seconds()
        for batch in self._batches:
            batch.step_begin(self._actions[0], self._active)
        while time.perf_counter() - start < seconds:
            cycles += 1
            for batch in self._batches:
                batch.step_end()
                batch.step_begin(self._actions[cycles % DRAWN], self._active)
        for batch in self._batches:
            batch.step_end()
        steps = cycles * sum(batch.num_trials for batch in self._batches)
        cpu_s = max(self._cpu_seconds() - start_cpu, TICK_S)
        return steps / (time.perf_counter() - start), steps / cpu_s

    def close(self) -> None:
        """Stop the workers."""
        for batch in self._batches:
            batch.close()

    def _cpu_seconds(self) -> float:
        times = [psutil.Process(batch.pid).cpu_times() for batch in self._batches]
        return sum(t.user + t.system for t in times)


if __name__ == "__main__":
    main()
