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
import importlib.util
import json
import math
import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's convention)
from jaxtyping import Float
from torch import Tensor

from agent.config.paths import OMNIGLOT_HINT, omniglot_folder
from agent.config.settings import DeviceChoice
from agent.devices import choose_device
from agent.learners.embedding.prototypical import PrototypicalPredictor
from agent.learners.factory import build
from agent.learners.gradient.maml import MAML
from agent.learners.gradient.task_convolutions import NORM_EPSILON
from agent.learners.protocol import FewShotLearner
from agent.learners.recipes import IMAGES, Recipe
from agent.policies.image_classifier import FewShotPolicy, best_matches
from agent.policies.image_classifier_training import FewShotRecipe, train_policy
from agent.policies.published_classifiers import few_shot_from_bytes, load_few_shot
from envs.family import Split
from envs.few_shot.images.classes import ImageClasses, read_image_folder
from envs.few_shot.images.folder import ImageFamily, ImageTaskConfig
from envs.few_shot.images.glyphs import draw_glyphs
from envs.few_shot.tasks import FewShotBatch, FewShotShapes

FOLDS = ("Korean,Tagalog", "Balinese,Japanese_(katakana)", "Early_Aramaic,Sanskrit", "Greek,Latin")
TIMED_STEPS = 10
LOOPED_TASKS = 4
HELD_OUT_TASKS = 1_000
ALPHABET_RUNS = 250
"""Fewer, because a run compares all views of its images with one another."""

SUPPORT_SETS = 4
"""Support sets over which an alphabet's runs are divided; each requires new features for every image."""


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


def measure_speed(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure one outer step of each learner on 5-way 1-shot tasks with 100 queries of 28 × 28, in new processes."""
    del arguments
    print(f"{'learner':34}{'tasks':>6}{'ms/update':>11}{'ms/task':>9}{'peak MiB':>10}")
    rows = []
    context = multiprocessing.get_context("spawn")
    for name, contestant in CONTESTANTS.items():
        with context.Pool(1) as pool:
            seconds, added_mib = pool.apply(_one_step, (name,))
        size = contestant.recipe.tasks_per_update
        print(f"{name:34}{size:6}{1e3 * seconds:11.1f}{1e3 * seconds / size:9.1f}{added_mib:10.0f}", flush=True)
        rows.append({"learner": name, "tasks": size, "seconds": seconds, "added_mib": added_mib})
    return [*rows, measure_beside_loop()]


def _one_step(name: str) -> tuple[float, float]:
    torch.set_num_threads(1)
    recipe = CONTESTANTS[name].recipe
    shapes = FewShotShapes(input_shape=(1, 28, 28), output_size=5, is_classification=True)
    config = ImageTaskConfig(ways=5, shots=1, queries=20, size=28)
    family = ImageFamily(config, training=draw_glyphs())
    batch = family.sample(recipe.tasks_per_update, split=Split.TRAINING, first_task=0)
    learner = build(recipe.learner, shapes, recipe.config(100), generator=torch.Generator().manual_seed(0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = 0.0
    for step in range(3 + TIMED_STEPS):
        if step == 3:
            started = time.process_time()
        learner.update(batch)
    seconds = (time.process_time() - started) / TIMED_STEPS
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


class LoopMAML:
    """The same MAML as a loop over tasks in plain PyTorch: the baseline for the batched form.

    Args:
        learner: the learner whose parameters and settings are copied.
    """

    def __init__(self, learner: MAML) -> None:
        self.config = learner.config
        self.parameters = {
            name: parameter.detach().clone().requires_grad_() for name, parameter in learner.network.named_parameters()
        }
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=self.config.outer_lr, fused=True)

    def update(self, batch: FewShotBatch) -> float:
        """Take one outer step."""
        total = 0.0
        self.optimizer.zero_grad()
        for x, y, query_x, query_y in zip(batch.support_x, batch.support_y, batch.query_x, batch.query_y, strict=True):
            adapted = self.parameters
            for _ in range(self.config.num_inner_steps):
                inner = F.cross_entropy(self.forward(adapted, x), y)
                gradient = torch.autograd.grad(inner, list(adapted.values()), create_graph=True)
                adapted = {
                    name: parameter - self.config.inner_lr * slope
                    for (name, parameter), slope in zip(adapted.items(), gradient, strict=True)
                }
            loss = F.cross_entropy(self.forward(adapted, query_x), query_y) / batch.num_tasks
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        self.optimizer.step()
        return total

    def forward(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Return the logits of one task's examples, by the library's own convolution and normalisation."""
        for layer in range(len(self.config.network.channels)):
            kernel = parameters[f"kernel_{layer}"].view(-1, x.shape[1], 3, 3)
            x = F.conv2d(x, kernel, padding=1, stride=2 if self.config.network.is_strided else 1)
            x = x if self.config.network.is_strided else F.max_pool2d(x, 2)
            gain, shift = parameters[f"gain_{layer}"], parameters[f"shift_{layer}"]
            x = F.batch_norm(x, None, None, gain, shift, training=True, eps=NORM_EPSILON).relu()
        return x.flatten(1) @ parameters["weight"] + parameters["bias"]


def measure_beside_loop() -> dict[str, Any]:
    """Measure MAML's outer step on parallel tasks and in a loop over tasks, by turns; the fastest of each counts."""
    recipe = IMAGES["maml"]
    family = ImageFamily(ImageTaskConfig(ways=5, shots=1, queries=5, size=28), training=draw_glyphs())
    batch = family.sample(LOOPED_TASKS, split=Split.TRAINING, first_task=0)
    batched = MAML(FewShotShapes.of(family), recipe.config(100), generator=torch.Generator().manual_seed(0))
    loop = LoopMAML(batched)
    gaps = [abs(batched.update(batch)["loss"] - loop.update(batch)) for _ in range(2)]
    turns = [(_cpu_s(lambda: batched.update(batch)), _cpu_s(lambda: loop.update(batch))) for _ in range(TIMED_STEPS)]
    fast, slow = (min(times) for times in zip(*turns, strict=True))
    print(
        f"MAML, {LOOPED_TASKS} tasks of 25 queries: {1e3 * fast:.0f} ms side by side, {1e3 * slow:.0f} ms as a loop "
        f"({slow / fast:.2f} times as long); losses differ by {max(gaps):.0e}"
    )
    if importlib.util.find_spec("learn2learn") is None:
        print("learn2learn is not installed: no row for it.")
    return {"learner": "MAML beside a loop", "tasks": LOOPED_TASKS, "seconds": fast, "loop_seconds": slow}


def _cpu_s(step: Callable[[], object]) -> float:
    started = time.process_time()
    step()
    return time.process_time() - started


def main() -> None:
    """Run the requested measurement and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
