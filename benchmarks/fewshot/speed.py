"""One outer step of each learner: time and memory, and MAML beside the same MAML in a loop over tasks."""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's convention)
from torch import Tensor

from agent.learners.factory import build
from agent.learners.gradient.maml import MAML
from agent.learners.gradient.task_convolutions import NORM_EPSILON
from agent.learners.recipes import IMAGES
from benchmarks.fewshot.learners import CONTESTANTS, TIMED_STEPS
from envs.family import Split
from envs.few_shot.images.folder import ImageFamily, ImageTaskConfig
from envs.few_shot.images.glyphs import draw_glyphs
from envs.few_shot.tasks import FewShotBatch, FewShotShapes

LOOPED_TASKS = 4


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
