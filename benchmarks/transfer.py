"""Transfer over sizes: a policy learned on one size of a problem, scored on other sizes without further training.

Run: ``python -m benchmarks.transfer --seeds 0 1 2``. An interrupted run continues where it stopped. The policy learns
bandits of 5 arms × 100 pulls alone, or MDPs of 10 states × 5 actions alone, and then acts on each other size beside the
baselines on the same held-out tasks, with a copy of the parts that depend on no size. What depends on the size is 0.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.warm_start import WarmStart
from benchmarks import rl2_bandits, rl2_mdps
from benchmarks.rl2_cells import Cell, Returns, Run, arguments, cached, policy_returns, train
from envs.registry import open_tasks

BANDIT_ARMS = (3, 5, 10, 20, 50, 200)
BANDIT_PULLS = (50, 100, 500)
GITTINS = "Gittins"
MDP_SIZES = ((5, 5, 10), (10, 2, 10), (10, 3, 10), (10, 5, 5), (10, 5, 20), (10, 10, 10), (20, 5, 10), (20, 8, 20),
             (50, 5, 10), (50, 10, 20))  # fmt: skip
"""States, actions and horizon."""
MDP_EPISODES = 10
LEARNERS_OF_MDPS = ("greedy", "ε-greedy", "PSRL", "OPSRL", "UCRL2", "BEB")
"""Baselines that do not know the MDP."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """The result of one size.

    Attributes:
        cell: name of the cell.
        returns: mean return by seed.
        standard_error: of the first seed's mean.
        peer: the baseline that is compared with.
        peer_return: its mean return on the same tasks.
    """

    cell: str
    returns: list[float]
    standard_error: float
    peer: str
    peer_return: float

    @property
    def shares(self) -> list[float]:
        """The mean return by seed as a share of the baseline's."""
        return [value / self.peer_return for value in self.returns]


def main() -> None:
    """Train, score and print both problems."""
    parser = arguments(__doc__)
    parser.add_argument("--problem", choices=["bandits", "mdps"], nargs="+", default=["bandits", "mdps"])
    parser.add_argument("--pulls", type=int, nargs="+", default=list(BANDIT_PULLS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scores: list[Score] = []
    for problem in options.problem:
        begin, cells = _bandits(options) if problem == "bandits" else _mdps()
        runs = [train(begin, options, seed=seed) for seed in options.seeds]
        for cell, pulls in cells:
            scores.append(_scored(cell, pulls, runs, options))
            _show(scores[-1])
    path = options.folder / "transfer.json"
    path.write_text(json.dumps([{**vars(score), "shares": score.shares} for score in scores], indent=1))
    print(f"written to {path}")


def _bandits(options: argparse.Namespace) -> tuple[Cell, Iterator[tuple[Cell, int]]]:
    """Return the cell to learn, and the cells to score with their numbers of pulls."""
    sizes = [(arms, pulls) for pulls in options.pulls for arms in BANDIT_ARMS]
    return rl2_bandits.bandit_cell(5, 100), ((rl2_bandits.bandit_cell(arms, pulls), pulls) for arms, pulls in sizes)


def _mdps() -> tuple[Cell, Iterator[tuple[Cell, int]]]:
    """Return the cell to learn, and the cells to score; MDPs have no pulls."""
    cells = (
        rl2_mdps.mdp_cell(MDP_EPISODES, num_states=states, num_actions=actions, horizon=horizon)
        for states, actions, horizon in MDP_SIZES
    )
    return rl2_mdps.mdp_cell(MDP_EPISODES), ((cell, 0) for cell in cells)


def _scored(cell: Cell, pulls: int, runs: Sequence[Run], options: argparse.Namespace) -> Score:
    """Score every seed's policy on a cell, with the baselines on the same tasks."""
    num_tasks = options.tasks
    path = options.folder / f"{cell.name}-transfer-baselines-{num_tasks}.npz"
    if pulls:
        baselines = cached(
            path, lambda: {GITTINS: rl2_bandits.gittins_returns(cell, num_pulls=pulls, num_tasks=num_tasks)}
        )
        peer = GITTINS
    else:
        baselines = cached(path, lambda: rl2_mdps.baseline_returns(cell, num_tasks))
        peer = max(LEARNERS_OF_MDPS, key=lambda name: float(baselines[name].mean()))
    returns = [_zero_shot(run.learner, cell, num_tasks) for run in runs]
    return Score(
        cell=cell.name,
        returns=[float(found.mean()) for found in returns],
        standard_error=float(returns[0].std(ddof=1) / np.sqrt(num_tasks)),
        peer=peer,
        peer_return=float(baselines[peer].mean()),
    )


def _zero_shot(learner: RL2Learner, cell: Cell, num_tasks: int) -> Returns:
    """Return the returns of a learner's policy on sizes that it may never have met."""
    tasks = open_tasks(cell.spec, None, num_trials=1, device="cpu")
    policy = learner.policy
    if not policy.knows(tasks.spaces):
        policy = learner.policy_with(tasks.spaces, WarmStart.COPIED)
    return policy_returns(policy, cell, num_tasks, is_greedy=False)


def _show(score: Score) -> None:
    shares = ", ".join(f"{share:.2%}" for share in score.shares)
    mean = np.mean(score.returns)
    print(f"\r{score.cell:28} {mean:9.2f} ± {score.standard_error:.2f}  {score.peer} {score.peer_return:.2f}: {shares}")


if __name__ == "__main__":
    main()
