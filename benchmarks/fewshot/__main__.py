"""Few-shot classification of characters: every learner compared with its paper, and the policy on unseen alphabets.

    python -m benchmarks.fewshot [learners] [--cpu-s S]    5-way 1-shot, whole alphabets held out, equal CPU time each
    python -m benchmarks.fewshot alphabets [--policy FILE]  20-way one-shot within one held-out alphabet
    python -m benchmarks.fewshot speed                     one outer step of each learner: time and memory

``learners`` and ``alphabets`` read Omniglot from ``--data`` or ``LEARND_OMNIGLOT``.
Without it, ``learners`` uses the made-up glyphs and says so, and ``alphabets`` ends with a message. Times are
CPU-seconds of one thread, so that they are comparable on a busy machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from agent.config.settings import DeviceChoice
from agent.policies.image_classifier_training import FewShotRecipe
from benchmarks.fewshot.alphabets import measure_alphabets
from benchmarks.fewshot.learners import CONTESTANTS, measure_learners
from benchmarks.fewshot.speed import measure_speed

HELD_OUT_TASKS = 1_000
ALPHABET_RUNS = 250
"""Fewer, because a run compares all views of its images with one another."""


def main() -> None:
    """Run the requested measurement and print its table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fewshot", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    measures = {"learners": measure_learners, "alphabets": measure_alphabets, "speed": measure_speed}
    parser.add_argument("what", nargs="?", default="learners", choices=measures)
    parser.add_argument("--data", type=Path, help="Omniglot's folder")
    parser.add_argument("--tasks", type=int, help="held-out tasks (1,000); of alphabets, runs in each (250)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the table there too")
    learners = parser.add_argument_group("learners")
    learners.add_argument("--cpu-s", type=float, default=300.0, help="training time of each")
    learners.add_argument("--ways", type=int, default=5)
    learners.add_argument(
        "--also-ways", type=int, nargs="+", default=[], help="score learners that take any number of ways at these too"
    )
    learners.add_argument("--hold-out", nargs="+", default=["Korean", "Tagalog"])
    learners.add_argument("--learners", nargs="+", choices=list(CONTESTANTS))
    alphabets = parser.add_argument_group("alphabets")
    alphabets.add_argument("--folds", nargs="+", help="alphabets held out together, joined by commas")
    alphabets.add_argument(
        "--policy", nargs="+", type=Path, help="trained policies, taken where they have not seen a fold"
    )
    alphabets.add_argument("--members", type=int, default=FewShotRecipe.members)
    alphabets.add_argument("--processes", type=int, default=FewShotRecipe.processes)
    alphabets.add_argument(
        "--device", type=DeviceChoice, choices=list(DeviceChoice), default=DeviceChoice.AUTO, help="where: a GPU if any"
    )
    alphabets.add_argument("--updates", type=int, default=FewShotRecipe().updates)
    alphabets.add_argument("--minutes", type=float, default=FewShotRecipe.minutes)
    alphabets.add_argument(
        "--views", type=int, help="look at images in this many views; without it, as the policy says"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.tasks = arguments.tasks or (ALPHABET_RUNS if arguments.what == "alphabets" else HELD_OUT_TASKS)
    rows = measures[arguments.what](arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
