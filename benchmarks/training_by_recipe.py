"""Training a few-shot learner by its recipe, like the service, for a given number of outer steps."""

from __future__ import annotations

import time

import torch

from agent.learners.factory import build
from agent.learners.protocol import FewShotLearner
from agent.learners.recipes import Recipe
from envs.family import Split
from envs.few_shot.tasks import FewShotFamily, FewShotShapes


def train(recipe: Recipe, family: FewShotFamily, *, updates: int, seed: int) -> tuple[FewShotLearner, float]:
    """Train a learner by its recipe; return it and the CPU-seconds of updates and of drawing tasks.

    Progress is printed ten times.

    Args:
        recipe: the learner and its settings.
        family: the family to train on.
        updates: outer steps.
        seed: seed of the initial parameters and of the training tasks.
    """
    started = time.process_time()
    generator = torch.Generator().manual_seed(seed)
    learner = build(recipe.learner, FewShotShapes.of(family), recipe.config(updates), generator=generator)
    size, first = recipe.tasks_per_update, seed * updates * recipe.tasks_per_update
    for update in range(updates):
        metrics = learner.update(family.sample(size, split=Split.TRAINING, first_task=first + update * size))
        if (update + 1) % max(1, updates // 10) == 0:
            spent = time.process_time() - started
            print(
                f"  {recipe.learner} {update + 1}/{updates}: loss {metrics['loss']:.3f}, {spent:.0f} CPU-s", flush=True
            )
    return learner, time.process_time() - started
