"""Errors of a policy within alphabets that it was not trained on: 20-way one-shot, all views compared."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from agent.config.paths import OMNIGLOT_HINT
from agent.devices import choose_device
from agent.learners.embedding.prototypical import PrototypicalPredictor
from agent.policies.image_classifier import FewShotPolicy, best_matches
from agent.policies.image_classifier_training import FewShotRecipe, train_policy
from agent.policies.published_classifiers import few_shot_from_bytes, load_few_shot
from benchmarks.fewshot.learners import existing_omniglot, interval
from envs.few_shot.images.classes import ImageClasses, read_image_folder

FOLDS = ("Korean,Tagalog", "Balinese,Japanese_(katakana)", "Early_Aramaic,Sanskrit", "Greek,Latin")

SUPPORT_SETS = 4
"""Support sets over which an alphabet's runs are divided; each requires new features for every image."""


@dataclass(frozen=True, kw_only=True)
class OneShotTask:
    """A one-shot task, as the indices of its images.

    Attributes:
        support: [N] one image per class.
        queries: [N] another image of each class, in the same order.
    """

    support: Tensor
    queries: Tensor


def one_shot_errors(policy: FewShotPolicy, classes: ImageClasses, *, ways: int, runs: int) -> dict[str, Tensor]:
    """Return errors of one-shot tasks within one alphabet, [runs] each.

    "one drawer" takes each run's support from one drawer and its queries from another, as in Omniglot's official runs.
    "any drawers" draws every image independently. All images are embedded once for each of a few support sets, which
    determine the normalisation of features, and the runs are divided among these sets. Apart from the normalisation, a
    prototypical policy's score for a class does not depend on the other classes.
    """
    rows = torch.cat([torch.arange(found.start, found.start + found.count) for found in classes.classes])
    num_classes, count = len(classes.classes), classes.classes[0].count
    ways, images = min(ways, num_classes), classes.images[rows]
    generator = np.random.default_rng(0)
    errors: dict[str, list[Tensor]] = {"one drawer": [], "any drawers": []}
    for runs_of_set in (len(part) for part in np.array_split(np.arange(runs), SUPPORT_SETS)):
        shown = count * generator.permutation(num_classes)[:ways] + generator.integers(count)
        drawn = [_draw_run(num_classes, count, ways, generator) for _ in range(runs_of_set)]
        for name, found in errors.items():
            for scores in task_scores(policy, images, torch.from_numpy(shown), [run[name] for run in drawn]):
                found.append((scores.argmax(1) != torch.arange(ways)).float().mean())
    return {name: torch.stack(found) for name, found in errors.items()}


def _draw_run(num_classes: int, count: int, ways: int, generator: np.random.Generator) -> dict[str, OneShotTask]:
    """Draw a run of each kind from classes with ``count`` images each."""
    first = torch.from_numpy(count * generator.permutation(num_classes)[:ways])
    shown, asked = generator.permutation(count)[:2]
    support = torch.from_numpy(generator.integers(count, size=ways))
    query = (support + 1 + torch.from_numpy(generator.integers(count - 1, size=ways))) % count
    return {
        "one drawer": OneShotTask(support=first + int(shown), queries=first + int(asked)),
        "any drawers": OneShotTask(support=first + support, queries=first + query),
    }


def task_scores(
    policy: FewShotPolicy, images: Tensor, shown: Tensor, tasks: Sequence[OneShotTask]
) -> list[Float[Tensor, "Q N"]]:
    """Return the score of each task's queries for each of its classes, by a policy adapted to some of the images.

    Orientations are processed one after another, so that not all features are in memory at once.
    """
    adapted = policy.adapt(images[shown], torch.arange(len(shown)))
    orientations = policy.views.orientations if policy.views.is_aligned else policy.views.count
    totals = [torch.zeros(len(task.queries), len(task.support), device=policy.device) for task in tasks]
    views = policy.look(images, adapted.zoom)
    for predictor in adapted.predictors:
        if not isinstance(predictor, PrototypicalPredictor):
            raise SystemExit(
                "measuring a policy: its members are no prototypical networks; name one of `few-shot train`."
            )
        for orientation in range(orientations):
            own = predictor.statistics and predictor.statistics[orientation::orientations]
            part = replace(predictor, statistics=own)
            features = part.embed(views[orientation::orientations])
            for total, task in zip(totals, tasks, strict=True):
                classes = replace(part, prototypes=features[:, task.support])
                total.add_(best_matches(classes, features[:, task.queries], orientations=1)[0])
    return [total.cpu() / (orientations * len(adapted.predictors)) for total in totals]


def measure_alphabets(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the 20-way one-shot error within each alphabet, of policies that were not trained on it."""
    place = existing_omniglot(arguments.data)
    if place is None:
        raise SystemExit(f"Omniglot is not there. {OMNIGLOT_HINT}")
    classes = read_image_folder(place)
    print(f"{'alphabet':24}{'ways':>5}{'one drawer, error %':>22}{'any drawers, error %':>23}")
    rows: list[dict[str, Any]] = []
    for fold in arguments.folds or FOLDS:
        names = fold.split(",")
        policy = _policy_without(names, place, arguments)
        for name in names:
            _, own = classes.hold_out_groups([name])
            errors = one_shot_errors(policy, own, ways=20, runs=arguments.tasks)
            found = {kind: interval(values) for kind, values in errors.items()}
            texts = [f"{mean:.2f} ± {half:.2f}" for mean, half in found.values()]
            ways = min(20, len(own.classes))
            print(f"{name:24}{ways:5}{texts[0]:>22}{texts[1]:>23}", flush=True)
            rows.append({"alphabet": name, "ways": ways, **{kind: mean for kind, (mean, _) in found.items()}})
    for kind in ("one drawer", "any drawers"):
        print(f"mean over {len(rows)} alphabets, {kind}: {sum(row[kind] for row in rows) / len(rows):.2f}%")
    return rows


def _policy_without(names: list[str], place: Path, arguments: argparse.Namespace) -> FewShotPolicy:
    """Return the named policy that was not trained on these alphabets, or train one."""
    device = choose_device(arguments.device)
    for path in arguments.policy or []:
        policy = load_few_shot(path, device=device)
        if not set(names) & set(policy.provenance["groups"]):
            return _with_views(policy, arguments.views)
    recipe = FewShotRecipe(
        members=arguments.members,
        processes=arguments.processes,
        updates=arguments.updates,
        minutes=arguments.minutes,
    )
    policy = train_policy([place], recipe, hold_out=names, seed=arguments.seed, device=device)
    # Trained members are on the CPU. Loading the policy from its bytes moves them to the device.
    return _with_views(few_shot_from_bytes(policy.to_bytes(), subject="policy", device=device), arguments.views)


def _with_views(policy: FewShotPolicy, count: int | None) -> FewShotPolicy:
    if count is None:
        return policy
    is_aligned = policy.views.is_aligned and count % policy.views.orientations == 0
    views = replace(policy.views, count=count, is_aligned=is_aligned)
    return FewShotPolicy(
        policy.members,
        views=views,
        ink_extent=policy.ink_extent,
        provenance=policy.provenance,
        device=policy.device,
    )
