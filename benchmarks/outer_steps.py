"""The outer steps compared from the same published parameters φ and the same learner's W, and with more practice.

Bandits, CartPole and tabular MDPs are practised one after another and published (φ). Then only the MDPs are practised
further (W). From this state every outer step proposes its parameters, which are scored on the same held-out tasks of
every family. ``practised on`` is the learner after further practice on the MDPs for the CPU-seconds of the slowest
outer step: the alternative use of that time. Unlike ``benchmarks.consolidation``, this benchmark compares steps from
one state, task by task. It does not show their long-term effects.

Run: ``python -m benchmarks.outer_steps [--seeds 0 1 2] [--window-s 3] [--json FILE]``; mean ± standard error over
seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from agent.config.settings import OuterStep
from agent.learners.rl2.policy import policy_from_initialization
from agent.learners.state import as_tensors
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.jobs.outer_steps import slow_weights
from agent.trainer.practice.rl2 import practise
from agent.trainer.session import TrainerSession, spaces_of
from benchmarks.consolidation import FAMILIES, feed, held_out_score, learner_session
from memory.records import Family

FOCUS = "mdps"
SECTION = {"outer_limit_s": 1e6, "trials_tensor": 64}

Figures = dict[str, float]
"""Score by family, the mean score, and the CPU-seconds of the step."""


def measure(*, seed: int, window_s: float, outer_updates: int, progress: Progress) -> dict[str, Figures]:
    """Return the figures of φ, W, every outer step and more practice, by name."""
    bar = progress.add_task(f"seed {seed}", total=len(FAMILIES) + len(OuterStep) + 3)
    section = {**SECTION, "outer_updates": outer_updates}
    with tempfile.TemporaryDirectory() as folder, learner_session(Path(folder), section, seed=seed) as session:
        known = [feed(session.store, spec) for spec in FAMILIES]
        for family in known:
            _practise(session, family.name, cpu_s=window_s)
            progress.advance(bar)
        consolidate(session)
        published = _published(session)
        _practise(session, FOCUS, cpu_s=window_s)
        fast = session.learner.initialization()
        figures = {"published": _figures(session, known, published), "fast": _figures(session, known, fast)}
        progress.advance(bar, 2)
        for step in OuterStep:
            figures[str(step)] = _step(session, known, step, published=published, fast=fast)
            progress.advance(bar)
        dearest = max(row["cpu_s"] for row in figures.values())
        _practise(session, FOCUS, cpu_s=dearest)
        figures["practised on"] = _figures(session, known, session.learner.initialization(), cpu_s=dearest)
    progress.remove_task(bar)
    return figures


def _practise(session: TrainerSession, name: str, *, cpu_s: float) -> None:
    began = time.process_time()
    while time.process_time() - began < cpu_s:
        practise(session, session.store.families.get(name), reason="benchmark")


def _published(session: TrainerSession) -> dict[str, Tensor]:
    current = session.store.initializations.current()
    if current is None:
        raise RuntimeError("the first consolidation published nothing, so there is nothing to step from")
    return as_tensors(session.store.checkpoints.load_parameters(current.file))


def _step(
    session: TrainerSession,
    known: Sequence[Family],
    step: OuterStep,
    *,
    published: Mapping[str, Tensor],
    fast: Mapping[str, Tensor],
) -> Figures:
    section = session.settings.consolidation.model_copy(update={"outer_step": step})
    session.settings = session.settings.model_copy(update={"consolidation": section})
    began = time.process_time()
    proposal = slow_weights(session, known, published=published, fast=fast, rates={})
    return _figures(session, known, proposal.tensors, cpu_s=time.process_time() - began)


def _figures(
    session: TrainerSession, known: Sequence[Family], tensors: Mapping[str, Tensor], *, cpu_s: float = 0.0
) -> Figures:
    policy = policy_from_initialization(session.config, tensors, [spaces_of(family) for family in known])
    scores = {family.name: held_out_score(session, family, policy) for family in known}
    return {**scores, "mean": float(np.mean(list(scores.values()))), "cpu_s": cpu_s}


def show(runs: Sequence[dict[str, Figures]]) -> None:
    """Print mean ± standard error over seeds."""
    columns = list(runs[0]["fast"])
    print(f"{'':14}" + "".join(f"{column:>18}" for column in columns))
    for name in runs[0]:
        cells = []
        for column in columns:
            values = np.array([run[name][column] for run in runs])
            error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
            cells.append(f"{values.mean():.3f} ± {error:.3f}")
        print(f"{name:14}" + "".join(f"{cell:>18}" for cell in cells))


def main() -> None:
    """Measure every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--window-s", type=float, default=3.0, help="CPU-seconds that a family is practised")
    parser.add_argument("--outer-updates", type=int, default=4, help="of MAML and Meta-SGD")
    parser.add_argument("--json", type=Path, help="write the figures here too, after every seed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = []
    with Progress(console=Console(stderr=True)) as progress:
        for seed in options.seeds:
            runs.append(
                measure(seed=seed, window_s=options.window_s, outer_updates=options.outer_updates, progress=progress)
            )
            if options.json:
                options.json.write_text(json.dumps(runs, indent=1) + "\n")
    show(runs)


if __name__ == "__main__":
    main()
