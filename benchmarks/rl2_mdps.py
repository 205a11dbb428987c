"""RL² on random tabular MDPs (Duan et al. 2016, table 2), with every baseline and the ceiling on the same tasks.

Run: ``python -m benchmarks.rl2_mdps --episodes 10 --seeds 0 1 2``. An interrupted run continues where it stopped. The
ceiling is value iteration on the known MDP, which no learning policy can reach.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.rl2_baselines import mdps
from benchmarks.rl2_cells import Cell, Returns, arguments, batches, best_setting, run_cell
from envs.default_families import TABULAR_MDPS
from envs.family import FamilySource, FamilySpec, Split
from envs.tensor.tabular_mdps import TabularMdps

TARGETS = {10: 160.0, 25: 449.0, 50: 945.0, 75: 1455.0, 100: 1975.0}
UPDATES = {10: 120, 25: 120, 50: 120, 75: 120, 100: 120}
NUM_STATES, NUM_ACTIONS, HORIZON = 10, 5, 10
OPSRL_DRAWS = 10
TUNING_TASKS = 512
BATCH = 512


def main() -> None:
    """Train, score and print one cell."""
    parser = arguments(__doc__)
    parser.add_argument("--episodes", type=int, default=10)
    options = parser.parse_args()
    cell = mdp_cell(options.episodes)
    run_cell(cell, options, baselines=lambda: baseline_returns(cell, options.tasks), ceiling="known MDP")


def mdp_cell(
    num_episodes: int, *, num_states: int = NUM_STATES, num_actions: int = NUM_ACTIONS, horizon: int = HORIZON
) -> Cell:
    """Return the cell of n episodes; cells of other sizes than the paper's have them in their name."""
    sizes = (num_states, num_actions, horizon)
    suffix = "" if sizes == (NUM_STATES, NUM_ACTIONS, HORIZON) else f"-s{num_states}-a{num_actions}-h{horizon}"
    spec = FamilySpec(
        name=f"mdps-n{num_episodes}{suffix}",
        source=FamilySource.TENSOR,
        entry=TABULAR_MDPS,
        kwargs={"num_states": num_states, "num_actions": num_actions, "horizon": horizon},
        episodes_per_trial=num_episodes,
    )
    return Cell(
        name=spec.name,
        spec=spec,
        episode_steps=horizon,
        num_updates=UPDATES.get(num_episodes, 200),
        target=TARGETS.get(num_episodes, float("nan")),
    )


def baseline_returns(cell: Cell, num_tasks: int) -> dict[str, Returns]:
    """Return every baseline's returns on held-out tasks; ε, the bonus and the width are chosen on training tasks."""
    tasks = TabularMdps(cell.spec, num_trials=min(BATCH, num_tasks), device="cpu")

    def play(policy: mdps.MdpPolicy, *, split: Split, num_tasks: int, epsilon: float = 0.0) -> Returns:
        return np.concatenate(
            [
                mdps.play(tasks, policy, first_task=first, split=split, seed=first, epsilon=epsilon).double().numpy()
                for first in batches(num_tasks, tasks.num_trials)
            ]
        )[:num_tasks]

    def tuned(family: Callable[[float], mdps.MdpPolicy], values: tuple[float, ...]) -> mdps.MdpPolicy:
        def trial(value: float) -> Callable[[], Returns]:
            return lambda: play(family(value), split=Split.TRAINING, num_tasks=TUNING_TASKS)

        return family(float(best_setting({str(value): trial(value) for value in values})))

    def greedy_with(epsilon: float) -> Callable[[], Returns]:
        return lambda: play(mdps.greedy, split=Split.TRAINING, num_tasks=TUNING_TASKS, epsilon=epsilon)

    epsilon = float(best_setting({str(value): greedy_with(value) for value in (0.01, 0.03, 0.1)}))
    policies: dict[str, mdps.MdpPolicy] = {
        "random": mdps.random,
        "greedy": mdps.greedy,
        "PSRL": mdps.psrl,
        "OPSRL": mdps.opsrl(OPSRL_DRAWS),
        "UCRL2": tuned(mdps.ucrl2, (0.003, 0.01, 0.03, 0.1)),
        "BEB": tuned(mdps.beb, (1.0, 3.0, 10.0, 30.0)),
        "known MDP": mdps.known(tasks),
    }
    returns = {"ε-greedy": play(mdps.greedy, split=Split.HELD_OUT, num_tasks=num_tasks, epsilon=epsilon)}
    for name, policy in policies.items():
        print(f"\r{cell.name}: playing {name}            ", end="", flush=True)
        returns[name] = play(policy, split=Split.HELD_OUT, num_tasks=num_tasks)
    return returns


if __name__ == "__main__":
    main()
