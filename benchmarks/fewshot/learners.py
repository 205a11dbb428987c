"""Few-shot learners on characters: accuracy on unseen alphabets after equal CPU time, and that of their papers."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agent.config.paths import omniglot_folder
from agent.learners.factory import build
from agent.learners.protocol import FewShotLearner
from agent.learners.recipes import IMAGES, Recipe
from envs.family import Split
from envs.few_shot.images.classes import ImageClasses, read_image_folder
from envs.few_shot.images.folder import ImageFamily, ImageTaskConfig
from envs.few_shot.images.glyphs import draw_glyphs
from envs.few_shot.tasks import FewShotShapes

TIMED_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A learner with its recipe and its published result.

    Attributes:
        recipe: how it is trained.
        paper: 5-way 1-shot accuracy on the whole of Omniglot, %, as published.
    """

    recipe: Recipe
    paper: str


def _with_full_context(recipe: Recipe) -> Recipe:
    return replace(recipe, config=lambda n: replace(recipe.config(n), has_full_context=True))


CONTESTANTS: dict[str, Contestant] = {
    "Prototypical Networks": Contestant(recipe=IMAGES["prototypical"], paper="98.8"),
    "Matching Networks": Contestant(recipe=IMAGES["matching"], paper="98.1"),
    "Matching Networks, full context": Contestant(recipe=_with_full_context(IMAGES["matching"]), paper="–"),
    "VERSA": Contestant(recipe=IMAGES["versa"], paper="99.70"),
    "MAML": Contestant(recipe=IMAGES["maml"], paper="98.7"),
    "Meta-SGD": Contestant(recipe=IMAGES["meta-sgd"], paper="99.53"),
    "Reptile, transduction": Contestant(recipe=IMAGES["reptile"], paper="97.68"),
    "PLATIPUS": Contestant(recipe=IMAGES["platipus"], paper="–"),
}


def existing_omniglot(asked: Path | None) -> Path | None:
    """Return the folder of Omniglot's images, or None if it is not named or does not exist."""
    place = omniglot_folder(asked)
    return place if place is not None and place.exists() else None


def few_shot_families(classes: ImageClasses, hold_out: Sequence[str], *, ways: int) -> ImageFamily:
    """Return tasks over all training classes with rotations as classes, and held-out tasks over held-out alphabets."""
    training, held_out = classes.hold_out_groups(hold_out)
    config = ImageTaskConfig(ways=ways, shots=1, queries=5, size=28, orientations=8, within_group=0.5, aligned=0.5)
    return ImageFamily(config, training=training, held_out=held_out)


def train_for(
    recipe: Recipe, classes: ImageClasses, hold_out: Sequence[str], *, ways: int, cpu_s: float, seed: int
) -> FewShotLearner:
    """Train for some CPU-seconds. The number of updates is derived from a measurement before training."""
    family = few_shot_families(classes, hold_out, ways=recipe.training_ways or ways)
    shapes, size = FewShotShapes.of(family), recipe.tasks_per_update
    step_s = seconds_per_update(recipe, shapes, family)
    planned = max(1, int(cpu_s / step_s))
    learner = build(
        recipe.learner,
        shapes,
        recipe.config(planned),
        generator=torch.Generator().manual_seed(seed),
    )
    for update in range(planned):
        learner.update(family.sample(size, split=Split.TRAINING, first_task=size * update))
    return learner


def seconds_per_update(recipe: Recipe, shapes: FewShotShapes, family: ImageFamily) -> float:
    """Measure the CPU-seconds of an update, including sampling."""
    learner = build(recipe.learner, shapes, recipe.config(100), generator=torch.Generator().manual_seed(0))
    size = recipe.tasks_per_update
    started = 0.0
    for step in range(3 + TIMED_STEPS):
        if step == 3:
            started = time.process_time()
        learner.update(family.sample(size, split=Split.TRAINING, first_task=size * step))
    return (time.process_time() - started) / TIMED_STEPS


def accuracies(learner: FewShotLearner, family: ImageFamily, *, tasks: int) -> Tensor:
    """Return [tasks], the accuracy on each held-out task."""
    found = []
    for first in range(0, tasks, 10):
        batch = family.sample(min(10, tasks - first), split=Split.HELD_OUT, first_task=first)
        logits = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
        found.append((logits.argmax(2) == batch.query_y).float().mean(1))
    return torch.cat(found)


def interval(values: Tensor) -> tuple[float, float]:
    """Return the mean and half its 95% interval, in %."""
    return 100.0 * float(values.mean()), 196.0 * float(values.std()) / math.sqrt(len(values))


def measure_learners(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every learner's accuracy on unseen alphabets, after equal CPU time."""
    place, hold_out = existing_omniglot(arguments.data), arguments.hold_out
    if place is None:
        print("Omniglot is not there (name it with --data or LEARND_OMNIGLOT): these are the made-up glyphs.")
        classes = draw_glyphs()
        hold_out = classes.groups[-4:]
    else:
        classes = read_image_folder(place)
    print(
        f"{arguments.ways}-way 1-shot, held out {', '.join(hold_out)}, {arguments.cpu_s:g} CPU-s each, "
        f"{arguments.tasks} tasks"
    )
    print(f"{'learner':34}{'ways':>5}{'accuracy %':>16}{'paper %':>9}{'updates':>9}{'ms/update':>11}")
    rows = []
    for name in arguments.learners or CONTESTANTS:
        recipe = CONTESTANTS[name].recipe
        started = time.process_time()
        learner = train_for(recipe, classes, hold_out, ways=arguments.ways, cpu_s=arguments.cpu_s, seed=arguments.seed)
        spent = time.process_time() - started
        for ways in (arguments.ways, *(arguments.also_ways if recipe.training_ways else ())):
            family = few_shot_families(classes, hold_out, ways=ways)
            rows.append(_scored(name, learner, family, tasks=arguments.tasks, cpu_s=spent))
    return rows


def _scored(name: str, learner: FewShotLearner, family: ImageFamily, *, tasks: int, cpu_s: float) -> dict[str, Any]:
    """Score a learner on held-out tasks and print its line."""
    mean, half = interval(accuracies(learner, family, tasks=tasks))
    paper, per_update = CONTESTANTS[name].paper if family.ways == 5 else "–", 1_000 * cpu_s / learner.num_updates
    print(
        f"{name:34}{family.ways:5}{mean:9.2f} ± {half:4.2f}{paper:>9}{learner.num_updates:9}{per_update:11.0f}",
        flush=True,
    )
    found = {"learner": name, "ways": family.ways, "accuracy": mean, "interval": half}
    return {**found, "updates": learner.num_updates, "cpu_s": cpu_s}
