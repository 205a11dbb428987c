"""Does a posterior's uncertainty detect tasks unlike the training tasks, and tasks with too little support?

    python -m benchmarks.uncertainty waves  [--learner platipus] [--updates N] [--seed S]
    python -m benchmarks.uncertainty glyphs [--learner versa]    [--updates N] [--seed S]

``waves``: trained on noisy sinusoids (amplitude 0.1 to 5, frequency 1, noise 0.3) of 10 shots. The uncertainty is a
standard deviation over samples of the posterior. Unlike tasks are waves of twice the frequency, and of an amplitude of
5 to 10.

``glyphs``: trained on 5-way 1-shot tasks of made-up characters. The uncertainty is the entropy of the mean prediction
in nats, at most 1.609. Unlike tasks are characters with permuted pixels (the same random permutation for all), and real
characters if ``--data`` or ``LEARND_OMNIGLOT`` names it.

The daemon charts the same uncertainty as ``learnd_uncertainty``. "told apart" is the probability that an unlike task
has a higher uncertainty than a like one (the area under the ROC curve); 0.5 means no detection.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from agent.config.paths import omniglot_folder
from agent.learners.evaluation.few_shot import uncertainty_of
from agent.learners.evaluation.trials import standard_error
from agent.learners.protocol import FewShotLearner, SamplingPredictor
from agent.learners.recipes import kind_of, recipe_for
from benchmarks.training_by_recipe import train
from envs.family import Split
from envs.few_shot.images.classes import read_image_folder
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from envs.few_shot.opening import family_of_images
from envs.few_shot.options import GlyphOptions, ImageOptions
from envs.few_shot.returns import charted_shots, task_returns, with_shots
from envs.few_shot.sinusoids import Sinusoids
from envs.few_shot.tasks import FewShotBatch, FewShotFamily

TASKS = 512
USUAL = {"waves": ("platipus", 5_000), "glyphs": ("versa", 500)}
"""Learner and updates of each family."""

WAVES = Sinusoids(shots=10, queries=20, noise_std=0.3)
Draw = Callable[[int], FewShotBatch]


def held_out(family: FewShotFamily) -> Draw:
    """Return a function that draws the family's first held-out tasks."""
    return lambda num_tasks: family.sample(num_tasks, split=Split.HELD_OUT, first_task=0)


def waves() -> tuple[FewShotFamily, dict[str, Draw]]:
    """Return the training family, and the kinds of tasks to evaluate."""
    return WAVES, {
        "alike": held_out(WAVES),
        "twice the frequency": held_out(replace(WAVES, frequency=(2.0, 2.0))),
        "amplitude 5 to 10": held_out(replace(WAVES, amplitude=(5.0, 10.0))),
    }


def glyphs(data: Path | None) -> tuple[FewShotFamily, dict[str, Draw]]:
    """Return the training family, and the kinds of tasks to evaluate."""
    options = GlyphOptions(ways=5, shots=1)
    family = family_of_images(draw_glyphs(GlyphConfig()), options, subject="glyphs")
    asked: dict[str, Draw] = {
        "alike": held_out(family),
        "swapped pixels": lambda num_tasks: _swapped(held_out(family)(num_tasks)),
    }
    place = omniglot_folder(data)
    if place is not None and place.exists():
        real = family_of_images(read_image_folder(place, size=84), ImageOptions(ways=5, shots=1), subject="omniglot")
        asked["Omniglot"] = held_out(real)
    return family, asked


def _swapped(batch: FewShotBatch) -> FewShotBatch:
    """Permute the pixels of every image in the same way.

    Pixel by pixel, the images are as hard to tell apart as before, but they resemble no character.
    """
    shape = batch.support_x.shape[2:]
    order = torch.randperm(shape.numel(), generator=torch.Generator().manual_seed(1))

    def swap(images: Tensor) -> Tensor:
        return images.flatten(2)[:, :, order].reshape(images.shape)

    return replace(batch, support_x=swap(batch.support_x), query_x=swap(batch.query_x))


def measure(learner: FewShotLearner, batch: FewShotBatch, num_shots: int) -> tuple[Tensor, Tensor]:
    """Return [M] uncertainties and [M] returns with this many shots, computed 64 tasks at a time."""
    is_classification = learner.shapes.is_classification
    seen = with_shots(batch, num_shots, is_classification=is_classification)
    uncertainties, returns = [], []
    for rows in torch.split(torch.arange(seen.num_tasks), 64):
        predict = learner.adapt(seen.support_x[rows], seen.support_y[rows])
        if not isinstance(predict, SamplingPredictor):
            raise SystemExit("that learner has no posterior: platipus and versa have")
        uncertainties.append(uncertainty_of(predict, seen.query_x[rows], is_classification=is_classification))
        outputs = predict(seen.query_x[rows])
        returns.append(task_returns(outputs, seen.query_y[rows], is_classification=is_classification))
    return torch.cat(uncertainties), torch.cat(returns)


def told_apart(unlike: Tensor, alike: Tensor) -> float:
    """Return the probability that a value of the first is greater than one of the second; ties count half."""
    difference = unlike.unsqueeze(1) - alike.unsqueeze(0)
    return float((difference > 0).float().mean() + 0.5 * (difference == 0).float().mean())


def asked_of(
    learner: FewShotLearner, family: FewShotFamily, asked: dict[str, Draw], *, num_tasks: int
) -> list[dict[str, Any]]:
    """Return uncertainty and return by kind of tasks and number of shots; the first kind is the like one."""
    rows: list[dict[str, Any]] = []
    alike: dict[int, Tensor] = {}
    for name, draw in asked.items():
        batch = draw(num_tasks)
        for num_shots in charted_shots(family.shots):
            uncertainty, returns = measure(learner, batch, num_shots)
            rows.append(
                {
                    "tasks": name,
                    "shots": num_shots,
                    "uncertainty": (float(uncertainty.mean()), standard_error(uncertainty)),
                    "return": (float(returns.mean()), standard_error(returns)),
                    "told_apart": told_apart(uncertainty, alike.setdefault(num_shots, uncertainty)),
                }
            )
    return rows


def show(rows: list[dict[str, Any]], *, title: str) -> None:
    """Print the table."""
    table = Table(title=title)
    for column in ("tasks", "shots", "uncertainty", "return", "told apart"):
        table.add_column(column, justify="left" if column == "tasks" else "right")
    for row in rows:
        shown = (f"{mean:.3f} ± {error:.3f}" for mean, error in (row["uncertainty"], row["return"]))
        apart = "–" if row["tasks"] == rows[0]["tasks"] else f"{row['told_apart']:.2f}"
        table.add_row(row["tasks"], str(row["shots"]), *shown, apart)
    Console(width=100).print(table)


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", nargs="*", help=f"any of {', '.join(USUAL)}; all without")
    parser.add_argument("--learner", help="platipus (waves) or versa (glyphs) unless given")
    parser.add_argument("--updates", type=int, help="outer steps: 5,000 (waves) or 500 (glyphs) unless given")
    parser.add_argument("--tasks", type=int, default=TASKS, help="held-out tasks of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="Omniglot's folder")
    parser.add_argument("--json", type=Path, help="keep what was measured here")
    options = parser.parse_args()
    if unknown := sorted(set(options.family) - set(USUAL)):
        parser.error(f"no family named {', '.join(unknown)}; there are: {', '.join(USUAL)}")
    torch.set_num_threads(1)
    measured: dict[str, Any] = {}
    for name in options.family or USUAL:
        usual_learner, usual_updates = USUAL[name]
        family, asked = waves() if name == "waves" else glyphs(options.data)
        updates = options.updates or usual_updates
        recipe = recipe_for(options.learner or usual_learner, kind_of(family))
        learner, cpu_s = train(recipe, family, updates=updates, seed=options.seed)
        rows = asked_of(learner, family, asked, num_tasks=options.tasks)
        show(rows, title=f"{name}, {options.tasks} tasks each, {updates:,} updates, {cpu_s:.0f} CPU-s, standard errors")
        measured[name] = {"cpu_s": cpu_s, "updates": updates, "rows": rows}
    if options.json is not None:
        options.json.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
