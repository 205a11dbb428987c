"""Recognition of tasks that recur: how well the probability "known task or new" is calibrated, by family.

A policy that was trained for a few CPU-seconds plays a pool of tasks of each family; each task occurs once or twice, in
random order. Each trial is matched with those before it by the embedding of its first 32 steps. A logistic regression
is fitted on every second match and measured on the others (:mod:`memory.retrieval.calibration`).

Run: ``python -m benchmarks.recognition [--cpu-s 10] [--png FILE.png] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.training import EagerTraining
from agent.learners.rl2.trials import to_records
from envs.default_families import NAVIGATION, VARIED_CARTPOLE, default_stream
from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks
from envs.spaces import SpacePair
from memory.records import StoredContextKey, TrialRecord
from memory.retrieval.calibration import CalibrationTest, calibrate, match_with_the_past
from memory.retrieval.encoding import EMBEDDING_WIDTH, TaskEncoder, fit_encoder
from memory.retrieval.key_upkeep import keys_of

NUM_TASKS = 256
MOST_OCCURRENCES = 2
NUM_FITTED = 256
FIRST_TASK = 1_000_000
"""The pool's tasks are not those of the training."""


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """The result of one family.

    Attributes:
        family: name of the family.
        num_trials: number of trials.
        top_1: share of the trials of a known task whose best match is of that task.
        test: the measured calibration.
    """

    family: str
    num_trials: int
    top_1: float
    test: CalibrationTest


def main() -> None:
    """Measure every family, print the results and draw them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cpu-s", type=float, default=10.0, help="CPU-seconds of training per family")
    parser.add_argument("--png", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for spec in families():
        found.append(recognised(spec, cpu_s=options.cpu_s))
        _show(found[-1])
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1))
    if options.png is not None:
        draw(found, options.png)


def _show(one: Recognised) -> None:
    test = one.test
    print(
        f"{one.family:12} {one.num_trials} trials, top 1 {one.top_1:.2f}, Brier {test.brier:.3f} (base rate "
        f"{test.brier_of_base_rate:.3f}), calibration error {test.calibration_error:.3f}, right {test.accuracy:.2f}",
        flush=True,
    )


def families() -> list[FamilySpec]:
    """Return the families to measure: those of the embedded default that are played in milliseconds, and navigation."""
    stream = {spec.name: spec for spec in default_stream()}
    cartpole = FamilySpec(
        name="cartpole", source=FamilySource.TENSOR, entry=VARIED_CARTPOLE, episodes_per_trial=3, max_episode_steps=200
    )
    navigation = FamilySpec(name="navigation", source=FamilySource.TENSOR, entry=NAVIGATION, episodes_per_trial=4)
    bandits = replace(stream["bandits"], episodes_per_trial=100)
    return [bandits, stream["mdps"], stream["frozenlake"], cartpole, navigation]


def recognised(spec: FamilySpec, *, cpu_s: float) -> Recognised:
    """Play tasks that recur, and measure how well they are recognised."""
    spaces, trials, tasks = recurring_trials(spec, cpu_s=cpu_s)
    encoder = TaskEncoder(spaces, fit_encoder(spaces, trials[:NUM_FITTED]), generation=1)
    keys = keys_of(encoder, dict(enumerate(trials, start=1)))
    stored = [StoredContextKey(trial_id=trial_id, key=key) for trial_id, key in keys.items()]
    past = match_with_the_past(stored, tasks, width=EMBEDDING_WIDTH)
    _, test = calibrate(past)
    is_known = np.array([task in tasks[:row] for row, task in enumerate(tasks)])
    return Recognised(
        family=spec.name, num_trials=len(trials), top_1=float(past.is_same_task[is_known].mean()), test=test
    )


def recurring_trials(spec: FamilySpec, *, cpu_s: float) -> tuple[SpacePair, list[TrialRecord], list[str]]:
    """Return a family's spaces, and trials in random order with the names of their tasks."""
    tasks = open_tasks(spec, None, num_trials=64, device="cpu")
    learner = RL2Learner(RL2Config(), device=torch.device("cpu"), seed=0)
    learner.add_family("family", tasks.spaces)
    training, started, first = EagerTraining(learner, "family", tasks), time.process_time(), 0
    while time.process_time() - started < cpu_s:
        batch = training.play(first)
        training.learn(batch)
        first += batch.num_trials
    tasks.close()
    played = [(str(task), trial) for task, trial in _played(spec, learner)]
    draw = np.random.default_rng(0)
    occurrences = draw.integers(1, MOST_OCCURRENCES + 1, size=NUM_TASKS)
    order = draw.permutation(len(played))
    seen = dict.fromkeys((name for name, _ in played), 0)
    names, kept = [], []
    for row in order:
        name, trial = played[row]
        if seen[name] < occurrences[int(name)]:
            seen[name] += 1
            names.append(name)
            kept.append(trial)
    return learner.policy.pair(tasks.spaces).spaces, kept, names


def _played(spec: FamilySpec, learner: RL2Learner) -> list[tuple[int, TrialRecord]]:
    """Return ``MOST_OCCURRENCES`` trials of each task of the pool, with noise of their own."""
    is_tensor = spec.source is FamilySource.TENSOR
    rows_per_task = MOST_OCCURRENCES if is_tensor else 1
    tasks = open_tasks(spec, None, num_trials=NUM_TASKS * rows_per_task, device="cpu", rows_per_task=rows_per_task)
    found = []
    for _ in range(1 if is_tensor else MOST_OCCURRENCES):
        batch = collect_trials(
            learner.policy, tasks, first_task=FIRST_TASK, split=Split.TRAINING, generator=learner.generator
        )
        rows = list(range(tasks.num_trials))
        records = to_records(batch, rows=rows, tasks=tasks.describe_tasks(rows))
        found += [(row // rows_per_task, record) for row, record in zip(rows, records, strict=True)]
    tasks.close()
    return found


def draw(found: list[Recognised], path: Path) -> None:
    """Draw the reliability of every family: the share of known tasks over their mean probability, by bin."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(3.1 * len(found), 3.5), sharey=True, layout="constrained")
    for axis, one in zip(axes, found, strict=True):
        bins = one.test.bins
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1, zorder=0)
        largest = max(part.count for part in bins)
        sizes = [20 + 180 * part.count / largest for part in bins]
        axis.scatter([part.probability for part in bins], [part.share for part in bins], s=sizes, alpha=0.7)
        axis.set_title(one.family, fontsize=10)
        brier = f"Brier {one.test.brier:.3f}\nof base rate {one.test.brier_of_base_rate:.3f}"
        text = f"{brier}\nECE {one.test.calibration_error:.3f}"
        axis.text(0.97, 0.03, text, ha="right", va="bottom", transform=axis.transAxes, fontsize=8)
        axis.set_xlim(-0.05, 1.05)
        axis.set_ylim(-0.05, 1.05)
        axis.set_xlabel("probability that the task is known")
    axes[0].set_ylabel("share of known tasks")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
