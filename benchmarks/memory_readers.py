"""RL² with and without reads of the in-trial memory, at equal CPU-seconds, on families of vector observations.

Families: ``cartpole`` (varied physics, as tensors) and ``pendulum`` (varied physics, continuous torque, stepped by a
worker). Readers: none, the Gaussian kernel, and the kernel with learned keys (``RL2Config.learned_keys``). A run rolls
out and updates until its CPU-seconds are used, not counting a worker's, and then plays held-out tasks. The table shows
mean ± standard error over seeds of the return of the trial, and of its first and last episode.

Run: ``python -m benchmarks.memory_readers [--family cartpole] [--seeds 0 1 2] [--cpu-s 20] [--json FILE]``. An
interrupted benchmark continues with the missing runs.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress, TaskID

from agent.learners.config_json import config_to_json
from agent.learners.evaluation.trials import EVALUATION_TASKS, held_out_returns
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.training import EagerTraining
from agent.learners.rl2.trials import num_env_steps, trial_returns
from benchmarks.kept_runs import kept_or_measured
from envs.default_families import VARIED_CARTPOLE, default_stream
from envs.family import FamilySource, FamilySpec
from envs.registry import open_tasks
from envs.task_batch import TaskBatch

READERS: dict[str, dict[str, Any]] = {
    "none": {"reads": False},
    "kernel": {},
    "kernel-learned": {"learned_keys": True},
}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A family with the settings of its practice.

    Attributes:
        spec: the family.
        num_trials: B.
        num_epochs: passes over a trial batch.
        num_held_out: held-out trials.
    """

    spec: FamilySpec
    num_trials: int
    num_epochs: int
    num_held_out: int


@dataclass
class Run:
    """The results of one reader with one seed.

    Attributes:
        episodes: mean held-out return by episode of the trial.
        env_steps: steps practised.
        updates: updates made.
        cpu_s: CPU-seconds used.
        curve: mean return of each training batch's trials.
    """

    episodes: list[float]
    env_steps: int
    updates: int
    cpu_s: float
    curve: list[float]


def benches() -> dict[str, Bench]:
    """Return the values of ``--family``."""
    cartpole = FamilySpec(
        name="cartpole",
        source=FamilySource.TENSOR,
        entry=VARIED_CARTPOLE,
        episodes_per_trial=2,
        max_episode_steps=50,
    )
    pendulum = next(spec for spec in default_stream() if spec.name == "pendulum")
    return {
        "cartpole": Bench(spec=cartpole, num_trials=64, num_epochs=2, num_held_out=256),
        "pendulum": Bench(spec=pendulum, num_trials=32, num_epochs=4, num_held_out=128),
    }


def run(bench: Bench, config: RL2Config, *, seed: int, cpu_s: float, progress: Progress) -> Run:
    """Learn until the CPU-seconds are used, and play held-out tasks."""
    learner = RL2Learner(config, device="cpu", seed=seed)
    bar = progress.add_task(f"{bench.spec.name}, seed {seed}", total=cpu_s)
    tasks = open_tasks(bench.spec, None, num_trials=bench.num_trials, device="cpu")
    try:
        done = _learn(learner, bench, tasks, cpu_s=cpu_s, progress=progress, bar=bar)
        returns = held_out_returns(learner.policy, tasks, first_task=EVALUATION_TASKS, num_trials=bench.num_held_out)
    finally:
        tasks.close()
        progress.remove_task(bar)
    done.episodes = [float(values.mean()) for values in returns.episodes]
    return done


def _learn(
    learner: RL2Learner, bench: Bench, tasks: TaskBatch, *, cpu_s: float, progress: Progress, bar: TaskID
) -> Run:
    learner.add_family(bench.spec.name, tasks.spaces)
    training = EagerTraining(learner, bench.spec.name, tasks)
    done = Run(episodes=[], env_steps=0, updates=0, cpu_s=0.0, curve=[])
    began = time.process_time()
    while done.cpu_s < cpu_s:
        trials = training.play(done.updates * bench.num_trials)
        training.learn(trials, num_epochs=bench.num_epochs)
        done.updates += 1
        done.env_steps += num_env_steps(trials)
        done.curve.append(round(float(trial_returns(trials).mean()), 3))
        done.cpu_s = time.process_time() - began
        progress.update(bar, completed=done.cpu_s)
    return done


def show(name: str, table: dict[str, list[Run]]) -> None:
    """Print mean ± standard error over seeds."""
    print(f"{name:18}{'trial':>18}{'first episode':>18}{'last episode':>18}{'steps':>10}{'steps/CPU-s':>13}")
    for reader, runs in table.items():
        columns = [
            [sum(r.episodes) for r in runs],
            [r.episodes[0] for r in runs],
            [r.episodes[-1] for r in runs],
        ]
        cells = [f"{np.mean(values):.1f} ± {_error(values):.1f}" for values in columns]
        steps, cpu_s = sum(r.env_steps for r in runs), sum(r.cpu_s for r in runs)
        print(f"{reader:18}" + "".join(f"{c:>18}" for c in cells) + f"{steps // len(runs):10}{steps / cpu_s:13.0f}")


def _error(values: list[float]) -> float:
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


def main() -> None:
    """Run the missing runs, and print one table per family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", nargs="+", default=list(benches()), choices=list(benches()))
    parser.add_argument("--readers", nargs="+", default=list(READERS), choices=list(READERS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cpu-s", type=float, default=20.0, help="CPU-seconds of a run")
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"), help="runs that are done")
    parser.add_argument("--json", type=Path, help="write the runs here too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with Progress(console=Console(stderr=True)) as progress:
        tables = {name: _table(name, options, progress) for name in options.family}
    for name, table in tables.items():
        show(name, table)
    if options.json:
        runs = {name: {r: [asdict(run) for run in runs] for r, runs in t.items()} for name, t in tables.items()}
        options.json.write_text(json.dumps(runs) + "\n")


def _table(name: str, options: argparse.Namespace, progress: Progress) -> dict[str, list[Run]]:
    """Return runs by reader.

    They run seed by seed, so that an interrupted benchmark has equally many of each reader.
    """
    table: dict[str, list[Run]] = {reader: [] for reader in options.readers}
    for seed in options.seeds:
        for reader in options.readers:
            path = options.folder / f"reader-{name}-{reader}-c{options.cpu_s:g}-seed{seed}.json"
            config = RL2Config(**READERS[reader])
            measure = partial(run, benches()[name], config, seed=seed, cpu_s=options.cpu_s, progress=progress)
            table[reader].append(kept_or_measured(path, Run, measure, settings=config_to_json(config)))
    return table


if __name__ == "__main__":
    main()
