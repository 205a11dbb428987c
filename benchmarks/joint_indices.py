"""Observations of several choices: as choices, as a vector of numbers, and as one index of all combinations.

Run: ``python -m benchmarks.joint_indices --seeds 0 1``. An interrupted run continues with the missing runs.

All encodings learn for the same number of CPU-seconds and play the same held-out tasks (docs/lab/joint-indices.md):

- ``choices``: learnd observes a vector, and its in-trial memory matches equal ones.
- ``vector``: the same vector from a Box, of which learnd does not know that few are different: the in-trial memory
  finds similar ones.
- ``index``: one number, which the in-trial memory matches.

The environments:

- ``grid-N``: a grid of N × N cells whose goal is not observed and differs from task to task; (row, column)
- ``blackjack``: Gymnasium's Blackjack-v1; (own sum, dealer's card, usable ace), 704 combinations
"""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from agent.experiments.budget import Budget, parse_budget
from agent.experiments.rl2 import RL2Assignment, RL2Trainee
from agent.experiments.run import LearningRun, Plan
from agent.learners.evaluation.trials import GATE_TASKS, held_out_returns
from benchmarks.kept_runs import kept_or_measured
from envs.declaration import family_from_declaration
from envs.family import FamilySpec
from envs.limits import WorkerLimits
from envs.registry import open_tasks

NUM_TRIALS = 32
FAMILIES = ("grid-5", "grid-8", "grid-16", "blackjack")
ENCODINGS = ("choices", "vector", "index")
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


class HiddenGoal(gymnasium.Env[Any, Any]):
    """A grid with a goal that is not observed. Reaching it pays 1 and ends the episode.

    Args:
        size: cells of a side.
        goal: the goal's cell, counted by rows.
        encoding: how row and column are observed.
    """

    def __init__(self, size: int = 8, goal: int = 0, *, encoding: str = "choices") -> None:
        self.size, self.goal, self.encoding = size, goal, encoding
        by_encoding: dict[str, spaces.Space[Any]] = {
            "choices": spaces.MultiDiscrete([size, size]),
            "vector": spaces.Box(0.0, 1.0, (2 * size,), np.float32),
            "index": spaces.Discrete(size * size),
        }
        self.observation_space = by_encoding[encoding]
        self.action_space = spaces.Discrete(len(MOVES))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin in the middle."""
        super().reset(seed=seed, options=options)
        self._row = self._column = self.size // 2
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move one cell; the border holds."""
        rows, columns = MOVES[int(action)]
        self._row = min(max(self._row + rows, 0), self.size - 1)
        self._column = min(max(self._column + columns, 0), self.size - 1)
        is_reached = self._row * self.size + self._column == self.goal
        return self._observation(), float(is_reached), is_reached, False, {}

    def _observation(self) -> Any:
        if self.encoding == "index":
            return self._row * self.size + self._column
        if self.encoding == "choices":
            return np.array([self._row, self._column])
        observed = np.zeros(2 * self.size, np.float32)
        observed[[self._row, self.size + self._column]] = 1.0
        return observed


def blackjack(*, encoding: str = "choices") -> gymnasium.Env[Any, Any]:
    """Return Blackjack-v1 with an encoding."""
    env: gymnasium.Env[Any, Any] = gymnasium.make("Blackjack-v1")
    if encoding == "choices":
        return env
    if encoding == "vector":
        return gymnasium.wrappers.FlattenObservation(env)
    return gymnasium.wrappers.TransformObservation(
        env, lambda seen: (int(seen[0]) * 11 + int(seen[1])) * 2 + int(seen[2]), spaces.Discrete(32 * 11 * 2)
    )


def family_of(name: str, *, encoding: str) -> FamilySpec:
    """Return a family with one of the encodings."""
    kind, _, size = name.partition("-")
    folder = str(Path(__file__).resolve().parents[1])
    if kind == "blackjack":
        return family_from_declaration(
            "benchmarks.joint_indices:blackjack",
            name=name,
            kwargs={"encoding": encoding},
            episodes_per_trial=10,
            max_episode_steps=20,
            import_paths=[folder],
        )
    return family_from_declaration(
        "benchmarks.joint_indices:HiddenGoal",
        name=name,
        kwargs={"encoding": encoding, "size": int(size)},
        variations=[f"goal=int:0:{int(size) ** 2 - 1}"],
        episodes_per_trial=4,
        max_episode_steps=4 * int(size),
        import_paths=[folder],
    )


@dataclass(frozen=True, kw_only=True)
class Run:
    """The result of a run.

    Attributes:
        updates: updates that the budget allowed.
        trial_return: mean held-out trial return.
        standard_error: of that return.
    """

    updates: int
    trial_return: float
    standard_error: float


def measure(spec: FamilySpec, *, budget: Budget, seed: int, num_tasks: int) -> Run:
    """Learn for the budget, and score."""
    assignment = RL2Assignment(spec=spec, limits=WorkerLimits(nice=0), seed=seed)
    plan = Plan(budget=budget, tasks_at_end=NUM_TRIALS)
    run = LearningRun(assignment, plan, report=lambda _progress: None, is_stopped=lambda: False)
    with closing(run.trainee):
        run.finish()
        assert isinstance(run.trainee, RL2Trainee)
        policy = run.trainee.learner.policy
    with closing(open_tasks(spec, None, num_trials=NUM_TRIALS, device="cpu")) as tasks:
        returns = held_out_returns(policy, tasks, first_task=GATE_TASKS, num_trials=num_tasks)
    return Run(updates=run.trainee.num_updates, trial_return=returns.mean, standard_error=returns.standard_error)


def main() -> None:
    """Learn, score and print every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    parser.add_argument("--budget", default="20s", help="CPU-seconds of each run")
    parser.add_argument("--tasks", type=int, default=512, help="held-out tasks of each score")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--folder", type=Path, default=Path("build/joint-indices"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    budget = parse_budget(options.budget)
    for name in options.families:
        for encoding in ENCODINGS:
            for seed in options.seeds:
                spec = family_of(name, encoding=encoding)
                run = kept_or_measured(
                    options.folder / f"{name}-{encoding}-{seed}.json",
                    Run,
                    lambda spec=spec, seed=seed: measure(  # type: ignore[misc]
                        spec, budget=budget, seed=seed, num_tasks=options.tasks
                    ),
                    settings={"budget": options.budget, "tasks": options.tasks, "seed": seed},
                )
                text = f"{run.trial_return:.3f} ± {run.standard_error:.3f} ({run.updates} updates)"
                print(f"{name:10} {encoding:7} seed {seed}: {text}", flush=True)


if __name__ == "__main__":
    main()
