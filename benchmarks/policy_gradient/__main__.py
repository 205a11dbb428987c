"""Adapting policies by policy gradients: MAML, FOMAML, Reptile and Meta-SGD compared with fine-tuning.

    python -m benchmarks.policy_gradient [FAMILY …] [--learner NAME …] [--seeds 0,1,2] [--updates N] [--folder DIR]

Families: ``navigation`` (Finn et al. 2017, section 5.3) and ``varied_cartpole``, with episodes limited to 200 steps.
Each learner is trained on training tasks, with equally many episodes. It then plays rounds of episodes in held-out
tasks: before adaptation and after 1, 2 and 3 steps, each step from one round. The baselines are

- ``joint``: one policy trained by PPO on all tasks, then fine-tuned in each held-out task by the same policy gradient;
- ``scratch``: an untrained policy, fine-tuned in the same way.

Both fine-tune at the rate of ``RATES`` with the largest return after 3 steps in other training tasks. ``known`` is a
straight walk to the goal (navigation) or the largest possible return (CartPole); ``random`` takes uniform random
actions.

With ``--folder`` every finished run is stored there and not repeated, so that an interrupted benchmark continues.
Intervals are 95% over seeds, by Student's t. ``--json FILE`` stores the measurements, ``--png FILE`` draws them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.policy_gradient.report import draw, show, summary
from benchmarks.policy_gradient.runs import CONTESTANTS, COURSES, Run, finished_run, references


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.policy_gradient",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("family", nargs="*", help=f"any of {', '.join(COURSES)}; all without")
    parser.add_argument("--learner", action="append", choices=list(CONTESTANTS), help="may be given again; all without")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--updates", type=int, help="outer steps of a learner of 4 rounds; the course's own without")
    parser.add_argument("--folder", type=Path, help="finished runs are kept here and not repeated")
    parser.add_argument("--json", type=Path, help="keep what was measured here")
    parser.add_argument("--png", type=Path, help="draw it here")
    given = parser.parse_args()
    unknown = sorted(set(given.family) - set(COURSES))
    if unknown:
        parser.error(f"no family named {', '.join(unknown)}; there are: {', '.join(COURSES)}")
    return given


def main() -> None:
    """Measure, print, and store the results."""
    given = options()
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in given.seeds.split(",")]
    measured: dict[str, tuple[list[Run], Mapping[str, float]]] = {}
    for family in given.family or COURSES:
        course = COURSES[family]
        runs = [
            finished_run(name, course, planned_updates=given.updates, seed=seed, folder=given.folder)
            for seed in seeds
            for name in given.learner or CONTESTANTS
        ]
        measured[family] = (runs, references(course))
        show(course, *measured[family])
    if given.json is not None:
        report = {
            family: {"runs": [asdict(run) for run in runs], "references": known, "summary": summary(runs)}
            for family, (runs, known) in measured.items()
        }
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    if given.png is not None:
        draw(measured, given.png)


if __name__ == "__main__":
    main()
