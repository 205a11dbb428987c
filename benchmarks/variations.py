"""Learning a fixed environment with ``--vary auto`` and without, scored on changed versions of the environment.

Run: ``python -m benchmarks.variations --seeds 0 1 2``. An interrupted run continues with the missing runs.

Two policies learn for the same number of CPU-seconds: one the environment as it is, whose tasks differ by their seed
only, and one the same environment with learnd's own variations. Both then play held-out tasks of the environment as it
is, of all variations together, and of each variation alone. Held-out tasks have other changes than training tasks.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from agent.experiments.budget import Budget, parse_budget
from agent.experiments.rl2 import RL2Assignment, RL2Trainee
from agent.experiments.run import LearningRun, Plan
from agent.learners.evaluation.trials import GATE_TASKS, held_out_returns
from agent.learners.rl2.policy import RL2Policy
from benchmarks.kept_runs import kept_or_measured
from envs.declaration import family_from_declaration
from envs.declared_values import parse_setting
from envs.family import FamilySpec
from envs.gymnasium.automatic_variations import complete
from envs.gymnasium.variations import VariationTarget
from envs.limits import WorkerLimits
from envs.registry import open_tasks

UNCHANGED, CHANGED = "unchanged", "all changes"
NUM_TRIALS = 32


@dataclass(frozen=True, kw_only=True)
class Run:
    """A policy's scores.

    Attributes:
        updates: updates that the budget allowed.
        cpu_s: processor seconds of practice, with the worker's.
        returns: mean held-out trial return by version of the environment.
        standard_errors: of those returns.
    """

    updates: int
    cpu_s: float
    returns: dict[str, float]
    standard_errors: dict[str, float]


def versions_of(varied: FamilySpec) -> dict[str, FamilySpec]:
    """Return the versions of the environment on which policies are scored, by name.

    Args:
        varied: the family with all variations.
    """
    versions = {UNCHANGED: replace(varied, variations=()), CHANGED: varied}
    for variation in varied.variations:
        name = variation.name if variation.target is VariationTarget.INTERFACE else "numbers"
        earlier = versions.get(name)
        versions[name] = replace(varied, variations=(*(earlier.variations if earlier else ()), variation))
    return versions


def measure(spec: FamilySpec, versions: dict[str, FamilySpec], *, budget: Budget, seed: int, num_tasks: int) -> Run:
    """Learn one family for the budget and score the policy on every version."""
    assignment = RL2Assignment(spec=spec, limits=WorkerLimits(nice=0), seed=seed)
    plan = Plan(budget=budget, tasks_at_end=NUM_TRIALS)
    run = LearningRun(assignment, plan, report=lambda _progress: None, is_stopped=lambda: False)
    with closing(run.trainee):
        run.finish()
        assert isinstance(run.trainee, RL2Trainee)
        policy = run.trainee.learner.policy
    found = {name: _scored(policy, version, num_tasks) for name, version in versions.items()}
    return Run(
        updates=run.trainee.num_updates,
        cpu_s=run.ledger.cpu_s,
        returns={name: mean for name, (mean, _) in found.items()},
        standard_errors={name: error for name, (_, error) in found.items()},
    )


def _scored(policy: RL2Policy, spec: FamilySpec, num_tasks: int) -> tuple[float, float]:
    with closing(open_tasks(spec, None, num_trials=NUM_TRIALS, device="cpu")) as tasks:
        returns = held_out_returns(policy, tasks, first_task=GATE_TASKS, num_trials=num_tasks)
    return returns.mean, returns.standard_error


def main() -> None:
    """Learn, score and print every run and the means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entry", default="CartPole-v1")
    parser.add_argument("--vary", nargs="+", default=["auto"])
    parser.add_argument("--kwarg", nargs="+", default=[], help="keyword arguments of the environment, KEY=VALUE")
    parser.add_argument("--max-steps", type=int, default=200)
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--budget", default="90s", help="CPU-seconds of each run")
    parser.add_argument("--tasks", type=int, default=128, help="held-out tasks of each score")
    parser.add_argument("--versions", nargs="+", help="versions that are scored; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("build/variations"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    varied = complete(
        family_from_declaration(
            options.entry,
            variations=options.vary,
            kwargs=dict(parse_setting(text) for text in options.kwarg),
            max_episode_steps=options.max_steps,
            episodes_per_trial=options.episodes,
        )
    )
    versions, budget = versions_of(varied), parse_budget(options.budget)
    if options.versions:
        versions = {name: versions[name] for name in options.versions}
    runs: dict[str, list[Run]] = {"without": [], "with": []}
    for seed in options.seeds:
        for name, spec in (("without", replace(varied, variations=())), ("with", varied)):
            kept = kept_or_measured(
                options.folder / f"{varied.name}-{name}-{seed}.json",
                Run,
                lambda spec=spec, seed=seed: measure(  # type: ignore[misc]
                    spec, versions, budget=budget, seed=seed, num_tasks=options.tasks
                ),
                settings={"family": spec.to_json(), "budget": options.budget, "seed": seed, "tasks": options.tasks},
            )
            runs[name].append(kept)
            print(f"{name:8} seed {seed}: {kept.updates} updates in {kept.cpu_s:.0f} CPU-s", flush=True)
    print(f"\n| version of {options.entry} | without | with |\n|---|---|---|")
    for version in versions:
        print(f"| {version} | {_cell(runs['without'], version)} | {_cell(runs['with'], version)} |")


def _cell(runs: list[Run], version: str) -> str:
    values = [run.returns[version] for run in runs]
    error = max(run.standard_errors[version] for run in runs)
    return f"{np.mean(values):.3g} ({', '.join(f'{value:.3g}' for value in values)}; ±{error:.2g})"


if __name__ == "__main__":
    main()
