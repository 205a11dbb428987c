"""Training one cell of a benchmark table from scratch, and scoring it with its baselines on the same tasks.

``rl2_bandits`` and ``rl2_mdps`` share this module: a run that can be interrupted and resumed at any update, and a table
in which every row was played on the same held-out tasks with the same noise.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from agent.learners.config_json import config_from_json, config_to_json
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.removed_settings import without_constants
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.training import EagerTraining, FamilyTraining
from agent.learners.rl2.trials import num_env_steps, trial_returns
from benchmarks.rl2_ablations import ABLATIONS
from envs.family import FamilySpec, Split
from envs.registry import open_tasks

Returns = NDArray[np.float64]
"""[N] trial return on each held-out task."""

SAVE_EVERY_S = 60.0
CURVE_POINTS = 8
"""Number of points of a training curve in the table; the JSON has all of them."""
SHOW_EVERY_S = 1.0
EVALUATION_TRIALS = 256
"""Number of parallel trials in an evaluation: long trials of many arms fill the memory."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a table.

    Attributes:
        name: name of the cell's files.
        spec: the family.
        episode_steps: steps of an episode.
        num_updates: default length of its training.
        target: the mean return to reach.
        settings: settings of RL2Config that differ from the defaults; the paper's own agent does not use them.
    """

    name: str
    spec: FamilySpec
    episode_steps: int
    num_updates: int
    target: float
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Run:
    """The state of a training run.

    Attributes:
        learner: the learner.
        updates: updates so far.
        next_task: index of the first training task not played yet.
        env_steps: environment steps so far.
        cpu_s: CPU-seconds of rollouts and updates so far.
        curve: (env_steps, cpu_s, mean training return per episode times the cell's episodes) of every update.
    """

    learner: RL2Learner
    updates: int = 0
    next_task: int = 0
    env_steps: int = 0
    cpu_s: float = 0.0
    curve: list[tuple[int, float, float]]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every table has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one training run each")
    parser.add_argument("--updates", type=int, help="length of a run; default: by cell")
    parser.add_argument("--tasks", type=int, default=10_240, help="held-out tasks")
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"), help="runs, tables and caches")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="begin anew instead of resuming")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of RL2Config, values as JSON"
    )
    parser.add_argument("--label", default="", help="added to the names of the runs' files")
    parser.add_argument("--paper", action="store_true", help="the paper's own agent instead of the default settings")
    parser.add_argument("--without", nargs="*", default=[], choices=sorted(ABLATIONS), help="parts to leave out")
    return parser


def config_for(cell: Cell, options: argparse.Namespace) -> RL2Config:
    """Return the cell's or the paper's settings, annealed over the run, as changed by ``--without`` and ``--set``."""
    updates = options.updates or cell.num_updates
    own = RL2Config(anneal_updates=updates, **cell.settings)
    config = RL2Config.paper(anneal_updates=updates) if options.paper else own
    known = {field.name for field in fields(RL2Config)}
    given: dict[str, Any] = {}
    for part in options.without:
        given |= ABLATIONS[part].settings
    for setting in options.set:
        key, _, value = setting.partition("=")
        if key not in known:
            raise SystemExit(f"--set {key}: no such setting; there are: {', '.join(sorted(known))}")
        given[key] = json.loads(value)
    return config_from_json(RL2Config, {**config_to_json(config), **given})


def run_name(cell: Cell, options: argparse.Namespace) -> str:
    """Return the name of the files of a cell's runs; ablations and the paper's agent have their own names."""
    left_out = "".join(f"-no-{part}" for part in sorted(options.without))
    return f"{cell.name}{'-paper' if options.paper else ''}{options.label}{left_out}"


def train(
    cell: Cell, options: argparse.Namespace, *, seed: int, begin: Callable[..., FamilyTraining] = EagerTraining
) -> Run:
    """Train a cell to its end, resuming an interrupted run of the same name.

    Args:
        cell: the cell.
        options: the options of :func:`arguments`.
        seed: seed of the run.
        begin: returns the training, given the learner, the family's name and the tasks.
    """
    config = config_for(cell, options)
    path = options.folder / f"{run_name(cell, options)}-seed{seed}"
    tasks = open_tasks(cell.spec, None, num_trials=1, device="cpu")
    run = None if options.fresh else _load(path, config)
    if run is None:
        run = Run(learner=RL2Learner(config, device="cpu", seed=seed), curve=[])
        run.learner.add_family(cell.name, tasks.spaces)
    for part in options.without:
        ABLATIONS[part].change(run.learner)
    training = begin(run.learner, cell.name, tasks)
    num_updates = options.updates or cell.num_updates
    saved_at, shown_at = time.monotonic(), 0.0
    while run.updates < num_updates:
        began = time.process_time()
        num_episodes = run.learner.num_episodes(cell.name, cell.spec.episodes_per_trial)
        num_trials = trials_of_length(num_episodes * cell.episode_steps)
        if training.tasks.num_trials != num_trials:
            training.close()
            tasks = open_tasks(cell.spec, None, num_trials=num_trials, device="cpu")
            training = begin(run.learner, cell.name, tasks)
        trials = training.play(run.next_task)
        training.learn(trials)
        run.next_task += num_trials
        run.cpu_s += time.process_time() - began
        run.updates += 1
        run.env_steps += num_env_steps(trials)
        run.curve.append(
            (
                run.env_steps,
                round(run.cpu_s, 2),
                float(trial_returns(trials).mean()) * cell.spec.episodes_per_trial / num_episodes,
            )
        )
        if time.monotonic() - shown_at > SHOW_EVERY_S or run.updates == num_updates:
            _show(cell, run, num_updates, seed)
            shown_at = time.monotonic()
        if time.monotonic() - saved_at > SAVE_EVERY_S or run.updates == num_updates:
            _save(path, run)
            saved_at = time.monotonic()
    training.close()
    print()
    return run


def trials_of_length(trial_steps: int) -> int:
    """Return B for trials of this length: about 25,600 steps per batch, with 128 to 256 trials."""
    return max(128, min(256, 25_600 // trial_steps))


def _show(cell: Cell, run: Run, num_updates: int, seed: int) -> None:
    recent = np.mean([mean for _, _, mean in run.curve[-10:]])
    print(
        f"\r{cell.name} seed {seed}: update {run.updates}/{num_updates}, {run.env_steps / 1e6:.2f}M steps, "
        f"{run.cpu_s:.0f} CPU-s, training return {recent:.2f}   ",
        end="",
        flush=True,
    )


def _save(path: Path, run: Run) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: getattr(run, key) for key in ("updates", "next_task", "env_steps", "cpu_s", "curve")}
    save_file(run.learner.to_tensors(), f"{path}.tmp")
    Path(f"{path}.json.tmp").write_text(
        json.dumps({**state, "meta": run.learner.to_meta(), "config": config_to_json(run.learner.config)})
    )
    Path(f"{path}.tmp").replace(f"{path}.safetensors")
    Path(f"{path}.json.tmp").replace(f"{path}.json")


def _load(path: Path, config: RL2Config) -> Run | None:
    if not Path(f"{path}.json").exists():
        return None
    state = json.loads(Path(f"{path}.json").read_text())
    if without_constants(state["config"]) != config_to_json(config):
        raise SystemExit(f"{path}.json is a run with other settings: give --fresh, or another --label or --folder")
    learner = RL2Learner.from_tensors(config, load_file(f"{path}.safetensors"), state["meta"], device="cpu")
    return Run(
        learner=learner,
        updates=state["updates"],
        next_task=state["next_task"],
        env_steps=state["env_steps"],
        cpu_s=state["cpu_s"],
        curve=[tuple(point) for point in state["curve"]],
    )


def batches(num_tasks: int, num_trials: int) -> Iterator[int]:
    """Return the first tasks of the batches that cover ``num_tasks``."""
    return iter(range(0, num_tasks, num_trials))


def policy_returns(policy: RL2Policy, cell: Cell, num_tasks: int, *, is_greedy: bool, seed: int = 1) -> Returns:
    """Return a policy's returns on the first held-out tasks."""
    tasks = open_tasks(cell.spec, None, num_trials=EVALUATION_TRIALS, device="cpu")
    generator = torch.Generator().manual_seed(seed)
    returns = []
    for first_task in batches(num_tasks, EVALUATION_TRIALS):
        print(f"\rscoring {first_task}/{num_tasks}   ", end="", flush=True)
        trials = collect_trials(
            policy, tasks, first_task=first_task, split=Split.HELD_OUT, generator=generator, is_greedy=is_greedy
        )
        returns.append(trial_returns(trials).double().numpy())
    return np.concatenate(returns)[:num_tasks]


def cached(path: Path, compute: Callable[[], dict[str, Returns]]) -> dict[str, Returns]:
    """Return the baselines' returns, computed once."""
    if path.exists():
        with np.load(path) as stored:
            return dict(stored)
    path.parent.mkdir(parents=True, exist_ok=True)
    returns = compute()
    with Path(f"{path}.tmp").open("wb") as file:
        np.savez(file, allow_pickle=False, **returns)
    Path(f"{path}.tmp").replace(path)
    return returns


def best_setting(settings: dict[str, Callable[[], Returns]]) -> str:
    """Return the setting with the largest mean return on training tasks."""
    means = {name: float(play().mean()) for name, play in settings.items()}
    return max(means, key=lambda name: means[name])


def report(
    cell: Cell, returns: dict[str, Returns], runs: list[Run], options: argparse.Namespace, *, ceiling: str
) -> None:
    """Print the table, and write it as JSON to the folder of the runs."""
    top = returns[ceiling]
    rows = {}
    print(f"\r{cell.name}: {len(top)} held-out tasks, target {cell.target:g}")
    print(f"{'':24}{'return':>10}{'± SE':>8}{'- ceiling':>12}{'± SE':>8}{'of ceiling':>12}")
    for name, values in sorted(returns.items(), key=lambda item: float(item[1].mean())):
        gap = values - top
        rows[name] = {"mean": float(values.mean()), "standard_error": _error(values)}
        rows[name] |= {"minus_ceiling": float(gap.mean()), "minus_ceiling_standard_error": _error(gap)}
        share = values.mean() / top.mean()
        print(f"{name:24}{values.mean():10.3f}{_error(values):8.3f}{gap.mean():12.3f}{_error(gap):8.3f}{share:12.2%}")
    for run in runs:
        show_curve(run)
    described = [{"env_steps": r.env_steps, "cpu_s": r.cpu_s, "updates": r.updates, "curve": r.curve} for r in runs]
    result = {
        "cell": cell.name,
        "tasks": len(top),
        "target": cell.target,
        "ceiling": ceiling,
        "rows": rows,
        "runs": described,
        "config": config_to_json(runs[0].learner.config) if runs else None,
    }
    path = options.folder / f"{run_name(cell, options)}.table.json"
    path.write_text(json.dumps(result, indent=1))
    print(f"written to {path}")


def show_curve(run: Run) -> None:
    """Print the training return at a few points of a run, each the mean of the updates since the previous point."""
    chunks = np.array_split(np.array(run.curve), min(CURVE_POINTS, len(run.curve)))
    points = (f"{chunk[-1, 0] / 1e6:.2f}M {chunk[:, 2].mean():.4g}" for chunk in chunks)
    print(f"training return by steps, seed {run.learner.seed}: {', '.join(points)}")


def _error(values: Returns) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def run_cell(
    cell: Cell, options: argparse.Namespace, *, baselines: Callable[[], dict[str, Returns]], ceiling: str
) -> None:
    """Train every seed, score it, and report it with the baselines."""
    torch.set_num_threads(options.threads)
    path = options.folder / f"{cell.name}-baselines-{options.tasks}.npz"
    returns = cached(path, baselines)
    runs = []
    for seed in options.seeds:
        run = train(cell, options, seed=seed)
        runs.append(run)
        for is_greedy in (False, True):
            name = f"RL² seed {seed}{', greedy' if is_greedy else ''}"
            returns[name] = policy_returns(run.learner.policy, cell, options.tasks, is_greedy=is_greedy)
    report(cell, returns, runs, options, ceiling=ceiling)
