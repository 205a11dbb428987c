"""Return of learnd beside PPO of stable-baselines3 for equal processor time, on fixed environments.

    python -m benchmarks.against_sb3 [PROBLEM …] [--seconds 150] [--seeds 0 1 2] [--learners learnd ppo]
        [--set SETTING=VALUE …] [--folder DIR] [--json FILE]

learnd learns each problem with its default settings, as ``learnd learn rl2 --family ENTRY --budget SECONDS`` does. PPO
has the settings of :mod:`benchmarks.sb3_problems`. Both get the same processor seconds, with those of the environments;
scoring does not count. Both are scored ten times along the way and at the end, on the same seeds of the environment.

The score at the end is the mean return of 100 episodes with actions drawn or with the most likely actions, whichever is
better for the learner. *Time to PPO's* is the processor time after which learnd's score along the way (drawn actions)
had reached PPO's last one of this kind. With ``--folder`` finished runs are kept and not repeated.

It needs the environments: ``pip install "gymnasium[box2d,mujoco]" minigrid`` and ``pip install --no-deps minatar``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from agent.experiments.budget import Budget
from agent.experiments.rl2 import RL2Assignment, RL2Trainee
from agent.experiments.run import LearningRun, Plan
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.trials import trial_returns
from benchmarks.kept_runs import kept_or_measured
from benchmarks.sb3_problems import PROBLEMS, Problem
from envs.declaration import family_from_declaration
from envs.family import FamilySpec, Split
from envs.limits import WorkerLimits
from envs.registry import open_tasks

LEARNERS = ("learnd", "ppo")
NUM_POINTS = 10
EPISODES_ALONG = 30
EPISODES_AT_END = 100
COPIES = 20
FIRST_HELD_OUT_SEED = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Run:
    """One learner on one problem.

    Attributes:
        cpu_s: processor seconds at each score along the way and at the end.
        along: mean return with drawn actions at each of them.
        drawn: mean return at the end with drawn actions.
        likely: mean return at the end with the most likely actions.
        env_steps: environment steps of training; 0 where the learner does not count them.
        updates: updates of the policy.
    """

    cpu_s: list[float]
    along: list[float]
    drawn: float
    likely: float
    env_steps: int
    updates: int

    @property
    def best(self) -> float:
        """The return at the end with the better way to act."""
        return max(self.drawn, self.likely)


def family(name: str, problem: Problem) -> FamilySpec:
    """Return the problem as a family, with learnd's defaults."""
    root = str(Path(__file__).parent.parent)
    return family_from_declaration(problem.entry, name=name, import_paths=[root] if problem.make is not None else [])


def measure_learnd(name: str, problem: Problem, *, seconds: float, seed: int, given: Sequence[str]) -> Run:
    """Train RL² with its default settings, but for those that are given."""
    spec = family(name, problem)
    plan = Plan(
        budget=Budget(cpu_s=seconds), num_points=NUM_POINTS, tasks_along=EPISODES_ALONG, tasks_at_end=EPISODES_AT_END
    )
    case = RL2Assignment(spec, WorkerLimits(), given=tuple(given), seed=seed)
    run = LearningRun(case, plan, report=lambda _: None, is_stopped=lambda: False)
    run.finish()
    trainee, last = run.trainee, run.ledger.last
    assert isinstance(trainee, RL2Trainee)
    assert last is not None
    points = [*run.ledger.points, last]
    trainee.close()
    return Run(
        cpu_s=[point.cpu_s for point in points],
        along=[point.adapted.mean for point in points],
        drawn=last.adapted.mean,
        likely=most_likely_return(trainee.learner.policy, spec),
        env_steps=0,
        updates=trainee.num_updates,
    )


def most_likely_return(policy: RL2Policy, spec: FamilySpec) -> float:
    """Return a policy's mean return on held-out tasks with the most likely actions."""
    tasks = open_tasks(spec, None, num_trials=COPIES, device="cpu")
    generator = torch.Generator()
    returns = [
        trial_returns(
            collect_trials(
                policy, tasks, first_task=first_task, split=Split.HELD_OUT, generator=generator, is_greedy=True
            )
        )
        for first_task in range(0, EPISODES_AT_END, COPIES)
    ]
    tasks.close()
    return float(torch.cat(returns).mean())


class TimedScores(BaseCallback):
    """A callback that scores PPO along the way, falls its rates with the time, and stops it when the time is spent."""

    def __init__(self, held_out: VecEnv, *, seconds: float) -> None:
        super().__init__()
        self._held_out, self._seconds = held_out, seconds
        self._began, self._scoring_s = time.process_time(), 0.0
        self.cpu_s: list[float] = []
        self.along: list[float] = []

    @property
    def spent_s(self) -> float:
        """Processor seconds without those of scoring."""
        return time.process_time() - self._began - self._scoring_s

    def _on_step(self) -> bool:
        share = self.spent_s / self._seconds
        # PPO computes its falling rates from the planned number of steps, which follows from the time so far.
        self.model._total_timesteps = max(self.num_timesteps + 1, int(self.num_timesteps / max(share, 1e-3)))  # noqa: SLF001
        if share >= len(self.along) / NUM_POINTS:
            self.score()
        return share < 1.0

    def score(self) -> None:
        """Play held-out episodes with drawn actions."""
        spent, began = self.spent_s, time.process_time()
        self.cpu_s.append(spent)
        self.along.append(mean_return(self.model, self._held_out, episodes=EPISODES_ALONG, is_greedy=False))
        self._scoring_s += time.process_time() - began


def mean_return(model: Any, held_out: VecEnv, *, episodes: int, is_greedy: bool) -> float:
    """Return PPO's mean return on held-out seeds."""
    held_out.seed(FIRST_HELD_OUT_SEED)
    training = model.get_vec_normalize_env()
    if training is not None and isinstance(held_out, VecNormalize):
        held_out.obs_rms = training.obs_rms
    mean, _ = evaluate_policy(model, held_out, n_eval_episodes=episodes, deterministic=is_greedy, warn=False)
    assert isinstance(mean, float)
    return mean


def falling(value: Any) -> Any:
    """Return a linear fall to 0 from a rate written as text, and any other value as it is."""
    if not isinstance(value, str):
        return value
    start = float(value)
    return lambda remaining: start * remaining


def measure_ppo(problem: Problem, *, seconds: float, seed: int) -> Run:
    """Train PPO with its tuned settings."""
    environments: VecEnv = make_vec_env(problem.environment, n_envs=problem.num_envs, seed=seed)
    held_out: VecEnv = make_vec_env(problem.environment, n_envs=1, seed=FIRST_HELD_OUT_SEED)
    if problem.is_normalised:
        environments = VecNormalize(environments, gamma=problem.ppo.get("gamma", 0.99))
        held_out = VecNormalize(held_out, training=False, norm_reward=False)
    settings = {name: falling(value) for name, value in problem.ppo.items()}
    model = PPO("MlpPolicy", environments, seed=seed, device="cpu", **settings)
    scores = TimedScores(held_out, seconds=seconds)
    model.learn(10**9, callback=scores)
    scores.score()
    ends = [mean_return(model, held_out, episodes=EPISODES_AT_END, is_greedy=is_greedy) for is_greedy in (False, True)]
    return Run(
        cpu_s=scores.cpu_s,
        along=scores.along,
        drawn=ends[0],
        likely=ends[1],
        env_steps=model.num_timesteps,
        updates=model._n_updates,  # noqa: SLF001  (PPO counts them nowhere else)
    )


def finished_run(name: str, learner: str, *, seed: int, options: argparse.Namespace) -> Run:
    """Return a run that an earlier call finished, or measure and store a new one."""
    problem, seconds, given = PROBLEMS[name], options.seconds, options.set if learner == "learnd" else []

    def measure() -> Run:
        if learner == "ppo":
            return measure_ppo(problem, seconds=seconds, seed=seed)
        return measure_learnd(name, problem, seconds=seconds, seed=seed, given=given)

    path = options.folder / f"{name}-{learner}-seed{seed}.json" if options.folder else None
    run = kept_or_measured(path, Run, measure, settings={"seconds": seconds, "seed": seed, "set": given})
    print(
        f"{name}, {learner}, seed {seed}: {run.best:.2f} after {run.cpu_s[-1]:.0f} CPU-s, {run.updates} updates",
        flush=True,
    )
    return run


def time_to(run: Run, wanted: float) -> float | None:
    """Return the processor seconds after which a run's score along the way had reached a return; None if never."""
    reached = [cpu_s for cpu_s, value in zip(run.cpu_s, run.along, strict=True) if value >= wanted]
    return reached[0] if reached else None


def show(measured: dict[str, dict[str, list[Run]]], *, seconds: float, seeds: Sequence[int]) -> None:
    """Print the table."""
    table = Table(title=f"mean return of {EPISODES_AT_END} episodes after {seconds:g} CPU-s, seeds {list(seeds)}")
    for column in ("problem", "learnd", "PPO", "learnd by seed", "PPO by seed", "CPU-s to PPO's"):
        table.add_column(column, justify="left" if column == "problem" else "right")
    for name, by_learner in measured.items():
        if len(by_learner) < len(LEARNERS):
            continue
        cells = [f"{statistics.fmean(run.best for run in by_learner[learner]):.2f}" for learner in LEARNERS]
        cells += [" ".join(f"{run.best:.1f}" for run in by_learner[learner]) for learner in LEARNERS]
        times = [time_to(own, ppo.along[-1]) for own, ppo in zip(*(by_learner[each] for each in LEARNERS), strict=True)]
        table.add_row(name, *cells, " ".join("–" if value is None else f"{value:.0f}" for value in times))
    Console(width=130).print(table)


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", nargs="*", help=f"any of {', '.join(PROBLEMS)}; all without")
    parser.add_argument("--seconds", type=float, default=150.0, help="processor seconds of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=LEARNERS)
    parser.add_argument("--set", nargs="+", default=[], metavar="SETTING=VALUE", help="settings of RL²")
    parser.add_argument("--folder", type=Path, help="finished runs are kept here and not repeated")
    parser.add_argument("--json", type=Path, help="write the runs here")
    given = parser.parse_args()
    if unknown := sorted(set(given.problem) - set(PROBLEMS)):
        parser.error(f"no problem named {', '.join(unknown)}; there are: {', '.join(PROBLEMS)}")
    return given


def main() -> None:
    """Measure, print, and store the results."""
    given = options()
    torch.set_num_threads(1)
    measured: dict[str, dict[str, list[Run]]] = {}
    for name in given.problem or PROBLEMS:
        measured[name] = {
            learner: [finished_run(name, learner, seed=seed, options=given) for seed in given.seeds]
            for learner in given.learners
        }
    show(measured, seconds=given.seconds, seeds=given.seeds)
    if given.json is not None:
        report = {
            name: {learner: [asdict(run) for run in runs] for learner, runs in by_learner.items()}
            for name, by_learner in measured.items()
        }
        given.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
