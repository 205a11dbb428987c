"""What a worker costs: steps/s through ``WorkerTaskBatch`` against the same environments stepped in a plain loop.

Two plain loops, with random actions drawn ahead: ``wrapped`` steps what ``gymnasium.make`` gives (its checker off),
``bare`` the unwrapped environments with a time limit counted by hand, the most that this machine's Python can do. Both
reset at once where an episode ended. The worker, at the loops' own niceness, and the loops run in turns, several rounds
each, and the ratio of the medians is printed.

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
import torch

from envs.family import FamilySource, FamilySpec, Split
from envs.limits import WorkerLimits
from envs.worker import WorkerTaskBatch

ENTRIES = ("CartPole-v1", "Acrobot-v1")
SIZES = (1, 16, 64)
DRAWN = 1024


def main() -> None:
    """Measure every cell and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one round of one loop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'environment':14} {'B':>3} {'wrapped/s':>10} {'bare/s':>10} {'worker/s':>10} {'/wrapped':>9} {'/bare':>7}")
    results = []
    for entry in ENTRIES:
        for size in SIZES:
            result = measure(entry, size, arguments.seconds, arguments.rounds)
            results.append(result)
            rates = f"{result['wrapped']:10.0f} {result['bare']:10.0f} {result['worker']:10.0f}"
            print(f"{entry:14} {size:3} {rates} {result['to_wrapped']:9.3f} {result['to_bare']:7.3f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def measure(entry: str, size: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Medians of the three loops, taken in turns so that a busy machine troubles all alike."""
    loops = {"wrapped": raw_loop(entry, size, is_bare=False), "bare": raw_loop(entry, size, is_bare=True)}
    worker, close = worker_loop(entry, size)
    loops["worker"] = worker
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for loop in loops.values():
        loop(0.1)
    for _ in range(rounds):
        for name, loop in loops.items():
            rates[name].append(loop(seconds))
    close()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "environment": entry,
        "size": size,
        **medians,
        "to_wrapped": medians["worker"] / medians["wrapped"],
        "to_bare": medians["worker"] / medians["bare"],
    }


def raw_loop(entry: str, size: int, *, is_bare: bool) -> Callable[[float], float]:
    """A loop over ``size`` environments in this process: seconds → steps/s."""
    envs = [gymnasium.make(entry, disable_env_checker=True) for _ in range(size)]
    limit = envs[0].spec.max_episode_steps or 0 if envs[0].spec else 0
    stepped = [env.unwrapped if is_bare else env for env in envs]
    generator = torch.Generator().manual_seed(0)
    choices = int(envs[0].action_space.n)  # type: ignore[attr-defined]
    actions = torch.randint(choices, (DRAWN, size), generator=generator).tolist()

    def run(seconds: float) -> float:
        for env in stepped:
            env.reset(seed=0)
        elapsed, steps, start = [0] * size, 0, time.perf_counter()
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
        return steps / (time.perf_counter() - start)

    return run


def worker_loop(entry: str, size: int) -> tuple[Callable[[float], float], Callable[[], None]]:
    """The same through a worker: seconds → steps/s, and what closes it."""
    spec = FamilySpec(name="measured", source=FamilySource.GYMNASIUM, entry=entry)
    tasks = WorkerTaskBatch(spec, num_trials=size, device="cpu", limits=WorkerLimits(nice=0))
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(tasks.spaces.action.choices[0], (DRAWN, size), generator=generator)
    active = torch.ones(size, dtype=torch.bool)

    def run(seconds: float) -> float:
        tasks.begin(0, split=Split.TRAINING)
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            tasks.step(actions[(steps // size) % DRAWN], active)
            steps += size
        return steps / (time.perf_counter() - start)

    return run, tasks.close


if __name__ == "__main__":
    main()
