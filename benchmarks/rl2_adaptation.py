"""The effect of reading the in-trial memory on varied environments: return by episode of the trial, with and without.

    python -m benchmarks.rl2_adaptation [FAMILY …] [--policies fixed,learned,none] [--seeds 0,1,2] [--steps N]
        [--folder DIR] [--json FILE] [--png FILE]

Policies: ``fixed`` reads with fixed keys, ``learned`` with learned ones (only for vectors), ``none`` does not read.

Families: ``varied_cartpole`` (tensors), ``frozenlake``, ``acrobot`` and ``pendulum`` (the default stream's, through a
worker), ``disguised`` (:mod:`benchmarks.disguised_mdps`), and ``told``, the same MDPs with their states as indices.

Every policy is trained from scratch for equally many environment steps, with the settings of the daemon. It then plays
a trial in each of the same held-out tasks, drawing its actions. The return of a trial's first episode shows what it
knew before; the increase in later episodes shows what it found out.

With ``--folder`` every finished run is stored there and not repeated. ``±`` is the standard error over seeds, or over
the tasks of a single seed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from agent.learners.config_json import config_to_json
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.training import EagerTraining
from agent.learners.rl2.trials import episode_returns, num_env_steps
from agent.reports.plot_style import CYCLE
from benchmarks.disguised_mdps import DisguisedMdps
from benchmarks.kept_runs import kept_or_measured
from envs.declaration import family_from_declaration
from envs.default_families import TABULAR_MDPS, VARIED_CARTPOLE, default_stream
from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks
from envs.task_batch import TaskBatch

HELD_OUT_TASKS = 256
SHOW_EVERY_S = 1.0
EPISODE_WIDTH = 17
"""Number of characters of an episode's column in the table."""


POLICIES: dict[str, dict[str, Any]] = {
    "fixed": {},
    "learned": {"learned_keys": True},
    "none": {"reads": False},
}
"""Settings by policy."""

LABELS = {"fixed": "fixed keys", "learned": "learned keys", "none": "no reads"}


def _open(spec: FamilySpec, num_trials: int) -> TaskBatch:
    return open_tasks(spec, None, num_trials=num_trials, device="cpu")


@dataclass(frozen=True, kw_only=True)
class Course:
    """A family with the length of its training.

    Attributes:
        spec: the family.
        num_steps: environment steps of training.
        num_updates: approximate number of updates for these steps, over which the learning rate falls.
        open_tasks: a function that opens B of its tasks.
    """

    spec: FamilySpec
    num_steps: int
    num_updates: int
    open_tasks: Callable[[FamilySpec, int], TaskBatch] = _open


@dataclass(frozen=True, kw_only=True)
class Run:
    """The results of one policy.

    Attributes:
        family: the family it learned.
        policy: the kind of reads, a key of ``POLICIES``.
        seed: seed of its parameters, its actions and the order of its minibatches.
        env_steps: environment steps of training.
        updates: number of updates.
        cpu_s: CPU-seconds of training, without those of the worker.
        returns: mean held-out return by episode of the trial.
        errors: standard errors of ``returns`` over tasks.
    """

    family: str
    policy: str
    seed: int
    env_steps: int
    updates: int
    cpu_s: float
    returns: list[float]
    errors: list[float]


def courses() -> dict[str, Course]:
    """Return the courses by name."""
    stream = {spec.name: spec for spec in default_stream()}
    cartpole = family_from_declaration(
        VARIED_CARTPOLE, name=VARIED_CARTPOLE, episodes_per_trial=3, max_episode_steps=200
    )
    mdps = FamilySpec(name="disguised", source=FamilySource.TENSOR, entry=TABULAR_MDPS, episodes_per_trial=10)
    return {
        VARIED_CARTPOLE: Course(spec=cartpole, num_steps=1_500_000, num_updates=15),
        "frozenlake": Course(spec=stream["frozenlake"], num_steps=200_000, num_updates=100),
        "acrobot": Course(spec=stream["acrobot"], num_steps=300_000, num_updates=20),
        "pendulum": Course(spec=stream["pendulum"], num_steps=300_000, num_updates=24),
        "disguised": Course(
            spec=mdps,
            num_steps=3_072_000,
            num_updates=120,
            open_tasks=lambda spec, num_trials: DisguisedMdps(spec, num_trials=num_trials),
        ),
        "told": Course(spec=replace(mdps, name="told"), num_steps=3_072_000, num_updates=120),
    }


def config_for(course: Course, policy: str) -> RL2Config:
    """Return the daemon's settings, annealed over the course."""
    return RL2Config(anneal_updates=course.num_updates, **POLICIES[policy])


def measure(course: Course, *, policy: str, seed: int) -> Run:
    """Train one policy and play it in held-out tasks."""
    spec, is_tensor_native = course.spec, course.spec.source is FamilySource.TENSOR
    config = config_for(course, policy)
    learner = RL2Learner(config, device="cpu", seed=seed)
    num_trials = config.num_trials_for(is_tensor_native=is_tensor_native)
    training = EagerTraining(learner, spec.name, course.open_tasks(spec, num_trials))
    learner.add_family(spec.name, training.tasks.spaces)
    env_steps, updates, cpu_s, shown_at = 0, 0, 0.0, 0.0
    while env_steps < course.num_steps:
        began = time.process_time()
        trials = training.play(updates * num_trials)
        training.learn(trials, num_epochs=config.num_epochs_for(is_tensor_native=is_tensor_native))
        cpu_s += time.process_time() - began
        env_steps, updates = env_steps + num_env_steps(trials), updates + 1
        if time.monotonic() - shown_at > SHOW_EVERY_S:
            mean = float(episode_returns(trials).mean())
            _show(f"{_label(spec.name, policy, seed)}: {env_steps}/{course.num_steps} steps, return {mean:.1f}")
            shown_at = time.monotonic()
    training.close()
    returns = held_out_returns(learner, course, num_trials=num_trials)
    _show(f"{_label(spec.name, policy, seed)}: {', '.join(f'{value:.2f}' for value in returns.mean(1).tolist())}")
    print()
    return Run(
        family=spec.name,
        policy=policy,
        seed=seed,
        env_steps=env_steps,
        updates=updates,
        cpu_s=cpu_s,
        returns=returns.mean(1).tolist(),
        errors=(returns.std(1) / math.sqrt(returns.shape[1])).tolist(),
    )


def held_out_returns(learner: RL2Learner, course: Course, *, num_trials: int) -> torch.Tensor:
    """Return [E, N], the return of every episode of a trial in each of ``HELD_OUT_TASKS`` tasks."""
    tasks, generator = course.open_tasks(course.spec, num_trials), torch.Generator().manual_seed(1)
    returns = [
        episode_returns(
            collect_trials(learner.policy, tasks, first_task=first_task, split=Split.HELD_OUT, generator=generator)
        )
        for first_task in range(0, HELD_OUT_TASKS, num_trials)
    ]
    tasks.close()
    return torch.cat(returns, dim=1)[:, :HELD_OUT_TASKS]


def finished_run(course: Course, *, policy: str, seed: int, folder: Path | None) -> Run:
    """Return a run that an earlier call finished, or measure and store a new one."""
    name = f"adaptation-{course.spec.name}-{policy}-{course.num_steps}-seed{seed}.json"
    path = folder / name if folder else None
    settings = config_to_json(config_for(course, policy))
    return kept_or_measured(path, Run, lambda: measure(course, policy=policy, seed=seed), settings=settings)


def summary(runs: Sequence[Run], *, policy: str) -> list[tuple[float, float]]:
    """Return the mean return and its standard error by episode of the trial."""
    own = [run for run in runs if run.policy == policy]
    if len(own) == 1:
        return list(zip(own[0].returns, own[0].errors, strict=True))
    returns = torch.tensor([run.returns for run in own], dtype=torch.float64)
    errors = returns.std(0) / math.sqrt(len(own))
    return list(zip(returns.mean(0).tolist(), errors.tolist(), strict=True))


def show(name: str, runs: Sequence[Run]) -> None:
    """Print one family's table."""
    seeds = sorted({run.seed for run in runs})
    table = Table(title=f"{name}: return by episode of the trial, {HELD_OUT_TASKS} held-out tasks, seeds {seeds}")
    table.add_column("policy")
    for episode in range(len(runs[0].returns)):
        table.add_column(str(episode + 1), justify="right")
    table.add_column("trial", justify="right")
    table.add_column("steps", justify="right")
    table.add_column("CPU-s", justify="right")
    for policy in dict.fromkeys(run.policy for run in runs):
        own = [run for run in runs if run.policy == policy]
        cells = [f"{mean:.2f} ± {error:.2f}" for mean, error in summary(runs, policy=policy)]
        trial = math.fsum(math.fsum(run.returns) for run in own) / len(own)
        cpu_s = math.fsum(run.cpu_s for run in own) / len(own)
        table.add_row(LABELS[policy], *cells, f"{trial:.2f}", f"{own[0].env_steps / 1e6:.2f}M", f"{cpu_s:.0f}")
    Console(width=60 + EPISODE_WIDTH * len(runs[0].returns)).print(table)


def draw(measured: dict[str, list[Run]], path: Path) -> None:
    """Draw one panel per family: held-out return by episode of the trial, by policy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.8 * len(measured), 3.4), layout="constrained")
    panels = figure.subplots(1, len(measured), squeeze=False)[0]
    for panel, (name, runs) in zip(panels, measured.items(), strict=True):
        for colour, policy in zip(CYCLE, dict.fromkeys(run.policy for run in runs), strict=False):
            means, errors = zip(*summary(runs, policy=policy), strict=True)
            episodes = range(1, len(means) + 1)
            panel.errorbar(
                episodes, means, errors, label=LABELS[policy], color=colour, capsize=2, linewidth=1.4, marker="o"
            )
        panel.set(title=name, xlabel="episode of the trial", ylabel="held-out return", xticks=episodes)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def options() -> argparse.Namespace:
    """Parse the command line."""
    known = courses()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", nargs="*", help=f"any of {', '.join(known)}; all without")
    parser.add_argument("--policies", default="fixed,none", help=f"of {', '.join(POLICIES)}")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, help="environment steps of training; by family without")
    parser.add_argument("--folder", type=Path, help="finished runs are kept here and not repeated")
    parser.add_argument("--json", type=Path, help="keep what was measured here")
    parser.add_argument("--png", type=Path, help="draw it here")
    given = parser.parse_args()
    unknown = sorted(set(given.family) - set(known))
    if unknown:
        parser.error(f"no family named {', '.join(unknown)}; there are: {', '.join(known)}")
    given.policies = given.policies.split(",")
    if unknown := sorted(set(given.policies) - set(POLICIES)):
        parser.error(f"no policy named {', '.join(unknown)}; there are: {', '.join(POLICIES)}")
    return given


def main() -> None:
    """Measure, print, and store the results."""
    given = options()
    torch.set_num_threads(1)
    known, measured = courses(), {}
    for name in given.family or known:
        course = known[name]
        if given.steps is not None:
            num_updates = max(1, course.num_updates * given.steps // course.num_steps)
            course = replace(course, num_steps=given.steps, num_updates=num_updates)
        measured[name] = [
            finished_run(course, policy=policy, seed=int(seed), folder=given.folder)
            for seed in given.seeds.split(",")
            for policy in given.policies
        ]
        show(name, measured[name])
    if given.json is not None:
        report = {name: [asdict(run) for run in runs] for name, runs in measured.items()}
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    if given.png is not None:
        draw(measured, given.png)


def _label(family: str, policy: str, seed: int) -> str:
    return f"{family}, {LABELS[policy]}, seed {seed}"


def _show(text: str) -> None:
    print(f"\r{text:<90}", end="", flush=True)


if __name__ == "__main__":
    main()
