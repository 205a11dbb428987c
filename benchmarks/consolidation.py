"""What consolidation publishes, and what is forgotten, while the focus of practice moves from family to family.

Three tensor families are practised one after another, in two rounds, each in its own window: bandits, CartPole with
varied physics, tabular MDPs. Their spaces differ, so they share no parameter, and practice of one changes nothing in
the others; in learnd 0.1.0 all three shared the recurrent core. The learner, store, consolidation and gate are those of
the daemon, with one consolidation at the end of every window. The time of the gate is deducted from practice. Held-out
tasks score the published version after every consolidation; this time is not charged.

``gated`` are the versions that consolidation published. ``ungated`` is what it would have published without a gate: the
learner's own weights at that time.

Definitions (Wołczyk et al. 2021, arXiv:2105.10919, section 4), with p_i(t) the published score of family i, in [0, 1]:

- P: mean over families of p_i over the last round's consolidations (theirs: the last 5); ``worst``: the least family's.
- F_i = p_i(end of its last window) - p_i(T), for all families but the last one.
- FT_i = (AUC_i - AUC_i^single) / (1 - AUC_i^single), AUC over its first window, single: learned alone from scratch.
  With one consolidation per window, the AUC is the score at the window's end.

Run: ``python -m benchmarks.consolidation [--seeds 0 1 2] [--window-s 6] [--json FILE]``. An interrupted run continues
with the missing courses.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from agent.config.settings import Settings
from agent.learners.evaluation.trials import EVALUATION_TASKS, Scale, held_out_returns
from agent.learners.rl2.parameters import policy_from_initialization
from agent.learners.rl2.policy import RL2Policy
from agent.learners.state import as_tensors
from agent.trainer.families import spaces_of
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.session import TrainerSession
from benchmarks.kept_runs import kept_or_measured
from benchmarks.trainer_session import trainer_session
from envs.default_families import BERNOULLI_BANDITS, TABULAR_MDPS, VARIED_CARTPOLE
from envs.family import FamilySource, FamilySpec
from envs.registry import open_tasks
from memory.records import Family
from memory.store import Store

NUM_ROUNDS = 2
EVALUATION_TRIALS = 256
GATE_TRIALS = 128
TOLERANCE = 0.15
"""About the resolution of so few held-out trials; the daemon uses more trials and a smaller tolerance."""
NUM_BOOTSTRAPS = 10_000

FAMILIES = (
    FamilySpec(
        name="bandits",
        source=FamilySource.TENSOR,
        entry=BERNOULLI_BANDITS,
        kwargs={"num_arms": 5},
        episodes_per_trial=10,
        random_return=5.0,
        reference_return=6.66,
        reference_source="Bayes-optimal return",
    ),
    FamilySpec(
        name="cartpole",
        source=FamilySource.TENSOR,
        entry=VARIED_CARTPOLE,
        episodes_per_trial=2,
        max_episode_steps=50,
        random_return=52.0,
        reference_return=100.0,
        reference_source="the most there is: 2 episodes of 50 steps, 1 a step",
    ),
    FamilySpec(
        name="mdps",
        source=FamilySource.TENSOR,
        entry=TABULAR_MDPS,
        kwargs={"num_states": 10, "num_actions": 5, "horizon": 10},
        episodes_per_trial=10,
        random_return=100.0,
        reference_return=159.1,
        reference_source="best published return",
    ),
)


@dataclass
class Course:
    """The results of one seed.

    Attributes:
        windows: the family practised before each consolidation.
        scores: by family, the published version's score after each consolidation; 0 before the family was practised.
        ungated: the scores of the learner's own weights.
        outcomes: the result of each consolidation: origin of the published version, or why there is none.
        practised: learner updates by family.
        cpu_s: CPU-seconds charged.
    """

    windows: list[str] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)
    ungated: dict[str, list[float]] = field(default_factory=dict)
    outcomes: list[str] = field(default_factory=list)
    practised: dict[str, int] = field(default_factory=dict)
    cpu_s: float = 0.0


def run_course(
    families: Sequence[FamilySpec],
    *,
    seed: int,
    rounds: int,
    window_s: float,
    progress: Progress,
) -> Course:
    """Practise the families' windows in turn, with a consolidation in each."""
    course = Course(scores={f.name: [] for f in families}, ungated={f.name: [] for f in families})
    num_windows = rounds * len(families)
    bar = progress.add_task("windows", total=num_windows)
    with tempfile.TemporaryDirectory() as folder, trainer_session(settings_for(Path(folder), seed=seed)) as session:
        known = [feed(session.store, spec) for spec in families]
        for window in range(num_windows):
            family = known[window % len(known)]
            began, charged = time.process_time(), course.cpu_s
            while charged + time.process_time() - began < (window + 1) * window_s:
                practised = session.store.families.get(family.name)
                session.practice_of(practised).practise(practised, reason="benchmark")
            _, detail = consolidate(session)
            course.cpu_s = charged + time.process_time() - began
            course.windows.append(family.name)
            course.outcomes.append(f"{detail.get('outcome', 'skipped')}: {detail['reason']}")
            _score(session, known, course)
            progress.advance(bar)
        course.practised = {f.name: session.store.families.get(f.name).totals.meta_updates for f in known}
    progress.remove_task(bar)
    return course


def feed(store: Store, spec: FamilySpec) -> Family:
    """Declare and admit a family."""
    tasks = open_tasks(spec, None, num_trials=1, device="cpu")
    store.families.add(spec)
    return store.families.admit(
        spec.name,
        spaces=tasks.spaces.to_json(),
        random_return=spec.random_return or 0.0,
        reference_return=spec.reference_return,
    )


def settings_for(folder: Path, *, seed: int) -> Settings:
    """Return the daemon's settings, with its store in the folder."""
    sections: dict[str, Any] = {
        "learner": {"seed": seed},
        "rl2": {"num_trials_tensor": 64},
        "practise": {"slice_s": 0.25},
        "memory": {"trials_per_step": 0},
        "consolidation": {"trials_tensor": GATE_TRIALS, "tolerance": TOLERANCE},
    }
    return Settings(data_dir=folder / "store", **sections)


def _score(session: TrainerSession, families: Sequence[Family], course: Course) -> None:
    current = session.store.initializations.current()
    spaces = [spaces_of(family) for family in families]
    published = None
    if current is not None:
        tensors = as_tensors(session.store.checkpoints.load_parameters(current.file))
        published = policy_from_initialization(session.config, tensors, spaces)
    for family in families:
        course.scores[family.name].append(held_out_score(session, family, published))
        course.ungated[family.name].append(held_out_score(session, family, session.learner.policy))


def held_out_score(session: TrainerSession, family: Family, policy: RL2Policy | None) -> float:
    """Return a policy's score on the evaluation tasks, within [0, 1]; 0 if it does not know the family."""
    if policy is None or not policy.knows(spaces_of(family)):
        return 0.0
    tasks = session.environments.tasks_of(family)
    returns = held_out_returns(policy, tasks, first_task=EVALUATION_TASKS, num_trials=EVALUATION_TRIALS)
    scale = Scale(random_return=family.random_return or 0.0, reference_return=family.reference_return or 1.0)
    return min(1.0, max(0.0, scale.score(returns.mean)))


def measures(course: Course, single: dict[str, Course], *, is_ungated: bool = False) -> dict[str, float]:
    """Return the figures of one course, as defined in the module docstring."""
    scores = course.ungated if is_ungated else course.scores
    late = {name: float(np.mean(points[-len(scores) :])) for name, points in scores.items()}
    forgetting, transfer = [], []
    for name, points in scores.items():
        inside = [index for index, window in enumerate(course.windows) if window == name]
        if inside[-1] < len(points) - 1:
            forgetting.append(points[inside[-1]] - points[-1])
        alone = (single[name].ungated if is_ungated else single[name].scores)[name][0]
        transfer.append((points[inside[0]] - alone) / max(1e-6, 1.0 - alone))
    return {
        "P": float(np.mean(list(late.values()))),
        "worst": min(late.values()),
        "end": float(np.mean([points[-1] for points in scores.values()])),
        "along the way": float(np.mean([np.mean(points) for points in scores.values()])),
        "F": float(np.mean(forgetting)),
        "FT": float(np.mean(transfer)),
        "published": float(sum(outcome.startswith("published") for outcome in course.outcomes)),
    }


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 90% bootstrap interval of the mean over seeds."""
    drawn = np.random.default_rng(0).choice(np.array(values), (NUM_BOOTSTRAPS, len(values))).mean(1)
    low, high = np.percentile(drawn, [5, 95])
    return float(low), float(high)


def _show(table: dict[str, list[dict[str, float]]]) -> None:
    names = list(next(iter(table.values()))[0])
    print(f"{'':10}" + "".join(f"{name:>24}" for name in names))
    for way, rows in table.items():
        cells = []
        for name in names:
            values = [row[name] for row in rows]
            low, high = interval(values)
            cells.append(f"{np.mean(values):8.3f} [{low:.3f}, {high:.3f}]")
        print(f"{way:10}" + "".join(f"{cell:>24}" for cell in cells))


def main() -> None:
    """Run the missing courses and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--window-s", type=float, default=6.0, help="CPU-seconds of a window")
    parser.add_argument("--rounds", type=int, default=NUM_ROUNDS)
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"), help="courses that are done")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with Progress(console=Console(stderr=True)) as progress:
        table = _table(options, progress)
    _show(table)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


def _table(options: argparse.Namespace, progress: Progress) -> dict[str, list[dict[str, float]]]:
    """Return the figures with and without the gate, by seed."""
    table: dict[str, list[dict[str, float]]] = {}
    bar = progress.add_task("courses", total=len(options.seeds) * (1 + len(FAMILIES)))

    def course(label: str, families: Sequence[FamilySpec], seed: int, rounds: int) -> Course:
        path = options.folder / f"consolidation-{label}-w{options.window_s:g}-seed{seed}.json"
        measure = partial(run_course, families, seed=seed, rounds=rounds, window_s=options.window_s, progress=progress)
        settings = settings_for(Path(), seed=seed).model_dump(mode="json", exclude={"data_dir"})
        done = kept_or_measured(path, Course, measure, settings=settings)
        progress.advance(bar)
        return done

    for seed in options.seeds:
        single = {spec.name: course(f"single-{spec.name}", [spec], seed, 1) for spec in FAMILIES}
        done = course(f"all-r{options.rounds}", FAMILIES, seed, options.rounds)
        table.setdefault("gated", []).append(measures(done, single))
        table.setdefault("ungated", []).append(measures(done, single, is_ungated=True))
    return table


if __name__ == "__main__":
    main()
