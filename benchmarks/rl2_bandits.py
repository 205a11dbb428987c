"""RL² on Bernoulli bandits (Duan et al. 2016, table 1), with every baseline and the ceiling on the same tasks.

Run: ``python -m benchmarks.rl2_bandits --arms 5 --pulls 10 --seeds 0 1 2``. An interrupted run continues where it
stopped. The ceiling is the exact Bayes-optimal dynamic programme for up to ten pulls, else the finite-horizon Gittins
index policy.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from benchmarks.rl2_baselines import bandits
from benchmarks.rl2_baselines.bayes_bandits import BayesOptimalBandit
from benchmarks.rl2_baselines.gittins import GittinsIndices
from benchmarks.rl2_cells import Cell, Returns, arguments, batches, best_setting, run_cell
from envs.default_families import BERNOULLI_BANDITS
from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks

TARGETS = {
    (10, 5): 0.995 * 6.660,
    (10, 10): 0.995 * 6.714,
    (10, 50): 0.995 * 6.714,
    (100, 5): 0.995 * 78.4,
    (100, 10): 0.995 * 83.9,
    (100, 50): 0.995 * 85.5,
    (500, 5): 0.99 * 407.8,
    (500, 10): 0.99 * 442.3,
    (500, 50): 0.99 * 465.1,
}
UPDATES = {10: 300, 100: 200, 500: 200}
FEWER_UPDATES = {(10, 50): 170}
"""By pulls and arms: about as many updates as fit into a CPU-minute."""

GROWING = {"curriculum_start": 0.3, "gae_lambda": 0.98}
"""Thirty pulls cannot try fifty arms. With hundreds of pulls, trials therefore grow while the policy still explores."""

LEAST_GROWING = (50, 500)
"""Numbers of arms and of pulls from which ``GROWING`` is used; both are required."""

TUNING_TASKS = 1024
BATCH = 1024


def main() -> None:
    """Train, score and print one cell."""
    parser = arguments(__doc__)
    parser.add_argument("--arms", type=int, default=5)
    parser.add_argument("--pulls", type=int, default=10)
    options = parser.parse_args()
    cell = bandit_cell(options.arms, options.pulls)
    ceiling = "Bayes-optimal" if options.pulls <= 10 else "Gittins"
    run_cell(cell, options, baselines=lambda: baseline_returns(cell, options), ceiling=ceiling)


def bandit_cell(num_arms: int, num_pulls: int) -> Cell:
    """Return the cell of n pulls on k arms."""
    spec = FamilySpec(
        name=f"bandits-k{num_arms}-n{num_pulls}",
        source=FamilySource.TENSOR,
        entry=BERNOULLI_BANDITS,
        kwargs={"num_arms": num_arms},
        episodes_per_trial=num_pulls,
    )
    return Cell(
        name=spec.name,
        spec=spec,
        episode_steps=1,
        num_updates=FEWER_UPDATES.get((num_pulls, num_arms), UPDATES.get(num_pulls, 200)),
        target=TARGETS.get((num_pulls, num_arms), float("nan")),
        settings=GROWING if num_arms >= LEAST_GROWING[0] and num_pulls >= LEAST_GROWING[1] else {},
    )


def baseline_returns(cell: Cell, options: argparse.Namespace) -> dict[str, Returns]:
    """Return every baseline's returns on the held-out tasks; ε and the width of UCB1 are chosen on training tasks."""
    tasks = open_tasks(cell.spec, None, num_trials=BATCH, device="cpu")

    def play(policy: bandits.BanditPolicy, *, split: Split, num_tasks: int) -> Returns:
        return np.concatenate(
            [
                bandits.play(tasks, policy, first_task=first, split=split, seed=first)
                for first in batches(num_tasks, BATCH)
            ]
        )[:num_tasks]

    def tuned(family: Callable[[float], bandits.BanditPolicy], values: tuple[float, ...]) -> bandits.BanditPolicy:
        def trial(value: float) -> Callable[[], Returns]:
            return lambda: play(family(value), split=Split.TRAINING, num_tasks=TUNING_TASKS)

        return family(float(best_setting({str(value): trial(value) for value in values})))

    policies: dict[str, bandits.BanditPolicy] = {
        "random": bandits.random,
        "greedy": bandits.greedy,
        "ε-greedy": tuned(bandits.epsilon_greedy, (0.003, 0.01, 0.03, 0.1)),
        "UCB1": tuned(bandits.ucb1, (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)),
        "Thompson": bandits.thompson,
        "optimistic Thompson": bandits.optimistic_thompson,
        "Gittins": bandits.gittins(GittinsIndices(options.pulls, progress=show_indices)),
    }
    if options.pulls <= 10:
        policies["Bayes-optimal"] = bandits.bayes_optimal(BayesOptimalBandit(options.arms, options.pulls))
    returns = {}
    for name, policy in policies.items():
        print(f"\r{cell.name}: playing {name}            ", end="", flush=True)
        returns[name] = play(policy, split=Split.HELD_OUT, num_tasks=options.tasks)
    return returns


def gittins_returns(cell: Cell, *, num_pulls: int, num_tasks: int) -> Returns:
    """Return the returns of the finite-horizon Gittins policy on the first held-out tasks."""
    tasks = open_tasks(cell.spec, None, num_trials=min(BATCH, num_tasks), device="cpu")
    policy = bandits.gittins(GittinsIndices(num_pulls, progress=show_indices))
    played = [
        bandits.play(tasks, policy, first_task=first, split=Split.HELD_OUT, seed=first)
        for first in batches(num_tasks, tasks.num_trials)
    ]
    return np.concatenate(played)[:num_tasks]


def show_indices(share: float) -> None:
    """Print the progress of the index table."""
    print(f"\rGittins indices {share:.0%}   ", end="", flush=True)


if __name__ == "__main__":
    main()
