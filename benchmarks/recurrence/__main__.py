"""Tasks that recur, with and without the memory of their earlier trials.

Run: ``python -m benchmarks.recurrence --seeds 0 1 2``. An interrupted run continues where it stopped. Policies are
trained on tasks that are played several times, and scored on held-out ones: bandits with a barcode
(:mod:`benchmarks.recurrence.recurring_bandits`) and dark rooms (:mod:`benchmarks.recurrence.dark_rooms`). In FrozenLake
(:mod:`benchmarks.recurrence.frozen_lakes`) the maps of a pool come back.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import Any

import torch

from agent.learners.rl2.recurring_training import RecurringTraining
from benchmarks.kept_runs import kept_or_measured
from benchmarks.recurrence import dark_rooms, frozen_lakes, recurring_bandits
from benchmarks.recurrence.dark_rooms import DarkRoomScore
from benchmarks.recurrence.frozen_lakes import LakeScore
from benchmarks.recurrence.recurring_bandits import EPOCHS, Recurrence, WrongMemory
from benchmarks.rl2_cells import Run, arguments, train

ROOM_UPDATES = 225
PROBLEMS = ("bandits", "rooms", "frozenlake")


def main() -> None:
    """Train, score and print."""
    parser = arguments(__doc__)
    parser.prog = "python -m benchmarks.recurrence"
    parser.add_argument("--problem", choices=PROBLEMS, nargs="+", default=list(PROBLEMS))
    parser.add_argument("--contexts", type=int, nargs="+", default=sorted(EPOCHS), help="bandits: contexts of an epoch")
    parser.add_argument("--epochs", type=int, help="bandits: epochs of each number of contexts; default: by contexts")
    parser.add_argument("--splits", type=int, nargs="*", default=[], help="rooms: random splits beside the published")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results: list[Any] = []
    for seed in options.seeds:
        if "bandits" in options.problem:
            results += _bandits(options, seed)
        if "rooms" in options.problem:
            results += [_rooms(options, seed, split) for split in (None, *options.splits)]
        if "frozenlake" in options.problem:
            results.append(_lakes(options, seed))
    path = options.folder / f"recurrence{options.label}.json"
    path.write_text(json.dumps([{"problem": type(result).__name__, **vars(result)} for result in results], indent=1))
    print(f"written to {path}")


def _bandits(options: argparse.Namespace, seed: int) -> list[Recurrence | WrongMemory]:
    """Train on bandits and score every number of contexts."""
    cell = recurring_bandits.bandit_cell(recurring_bandits.NUM_EXPOSURES)
    run = train(cell, options, seed=seed, begin=RecurringTraining)
    policy, results = run.learner.policy, list[Recurrence | WrongMemory]()
    for contexts in options.contexts:
        epochs = options.epochs or EPOCHS.get(contexts, 16)
        measure = partial(recurring_bandits.score, policy, seed=seed, contexts=contexts, epochs=epochs)
        path = options.folder / f"recurrence{options.label}-c{contexts}-seed{seed}.json"
        settings = {**_settings(run), "contexts": contexts, "epochs": epochs}
        found = kept_or_measured(path, Recurrence, measure, settings=settings)
        recurring_bandits.show(found)
        results.append(found)
    path = options.folder / f"recurrence{options.label}-wrong-seed{seed}.json"
    measure_wrong = partial(recurring_bandits.score_wrong_memory, policy, seed=seed)
    wrong = kept_or_measured(path, WrongMemory, measure_wrong, settings=_settings(run))
    recurring_bandits.show_wrong(wrong)
    return [*results, wrong]


def _rooms(options: argparse.Namespace, seed: int, split: int | None) -> DarkRoomScore:
    """Train on the training goals of a split and score all goals."""
    cell = dark_rooms.dark_room_cell(split, num_updates=ROOM_UPDATES)
    run = train(cell, options, seed=seed, begin=RecurringTraining)
    measure = partial(
        dark_rooms.score,
        run.learner.policy,
        cell,
        seed=seed,
        split=split,
        env_steps=run.env_steps,
        train_cpu_s=run.cpu_s,
    )
    path = options.folder / f"recurrence{options.label}-{cell.name}-seed{seed}.json"
    found = kept_or_measured(path, DarkRoomScore, measure, settings=_settings(run))
    dark_rooms.show(found)
    return found


def _lakes(options: argparse.Namespace, seed: int) -> LakeScore:
    """Train on maps that recur and score them all."""
    cell = frozen_lakes.lake_cell()
    run = train(cell, options, seed=seed, begin=RecurringTraining)
    measure = partial(
        frozen_lakes.score, run.learner.policy, cell, seed=seed, env_steps=run.env_steps, train_cpu_s=run.cpu_s
    )
    path = options.folder / f"recurrence{options.label}-{cell.name}-seed{seed}.json"
    found = kept_or_measured(path, LakeScore, measure, settings=_settings(run))
    frozen_lakes.show(found)
    return found


def _settings(run: Run) -> dict[str, Any]:
    """Return what a stored result depends on."""
    return {"updates": run.updates}


if __name__ == "__main__":
    main()
