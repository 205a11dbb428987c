"""Few-shot classification of images: N classes per task, drawn from a folder of class/image files.

Rules of a task:

- It draws N classes, of one group (alphabet) with a set probability and otherwise of all classes.
- It draws K support images and the query images of each class.
- It shows each class in one orientation. A turned or mirrored class is a separate class.
- Training images are deformed (``warps``); held-out images are not.

Shapes: M tasks, N ways, K shots, J images a class (K and the queries), I = M · N · J images, P the side of an input.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.errors import FamilySpecError
from envs.family import Split
from envs.few_shot.images.classes import ImageClasses
from envs.few_shot.images.strokes import Pens, StrokeConfig, apply_pens, draw_pens, join_pens
from envs.few_shot.images.warps import Warp, WarpConfig, apply_warp, draw_warp, smooth_for
from envs.few_shot.tasks import FewShotBatch

HELD_OUT_ORIENTATIONS = 1
"""Held-out tasks show classes upright."""

_SPLIT_NUMBERS = {Split.TRAINING: 0, Split.HELD_OUT: 1}


@dataclass(frozen=True, kw_only=True)
class ImageTaskConfig:
    """Settings of a task of images.

    Attributes:
        ways: N.
        shots: K.
        queries: query images per class.
        size: P.
        within_group: probability that a training task's classes are of one group (alphabet).
        held_out_within_group: probability that a held-out task's classes are of one group.
        orientations: orientations of training tasks: 1 shows classes upright, 4 also turns them, 8 turns and mirrors
            them. Held-out tasks show all classes upright; in a task within a group all classes are turned alike.
        aligned: probability that a training task uses the same image numbers of every class (in Omniglot: the same
            drawers), if all its classes have equally many images.
        warp: the deformation of training images; None does not deform them.
        strokes: the change of pens of training images; None does not change their strokes.
        seed: seed of the tasks.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 5
    size: int = 28
    within_group: float = 0.0
    held_out_within_group: float = 0.0
    orientations: int = 4
    aligned: float = 0.0
    warp: WarpConfig | None = field(default_factory=WarpConfig)
    strokes: StrokeConfig | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.orientations not in {1, 4, 8}:
            raise FamilySpecError(
                operation="describing image tasks",
                subject="orientations",
                found=f"it is {self.orientations}.",
                hint="It is 1 (upright), 4 (turned) or 8 (turned and mirrored).",
            )


class ImageFamily:
    """A family of few-shot tasks over two disjoint sets of classes.

    Args:
        config: settings of a task.
        training: the classes of training tasks.
        held_out: the classes of held-out tasks; None if only training tasks are needed.

    Raises:
        FamilySpecError: a set has too few classes for one task, or a class has no more images than shots.
    """

    is_classification = True

    def __init__(
        self, config: ImageTaskConfig, *, training: ImageClasses, held_out: ImageClasses | None = None
    ) -> None:
        self.config = config
        check_classes(training, config, config.orientations)
        if held_out is not None:
            check_classes(held_out, config, HELD_OUT_ORIENTATIONS)
        is_shared = held_out is not None and held_out.images is training.images
        smooth = smooth_for(training.images, config.size)
        self._pools = {Split.TRAINING: _Pool.of(training, smooth, config, config.orientations)}
        if held_out is not None:
            smooth = smooth if is_shared else smooth_for(held_out.images, config.size)
            self._pools[Split.HELD_OUT] = _Pool.of(held_out, smooth, config, HELD_OUT_ORIENTATIONS)

    def with_training_ways(self, ways: int) -> ImageFamily:
        """Return the training tasks of the same classes with another number of ways, at most the number of classes.

        The images are shared, and there are no held-out tasks.
        """
        pool = self._pools[Split.TRAINING]
        ways = min(ways, len(pool.classes.classes) * pool.orientations)
        family = copy(self)
        family.config = replace(self.config, ways=ways)
        pools = {Split.TRAINING: _Pool.of(pool.classes, pool.smooth_images, family.config, pool.orientations)}
        family._pools = pools  # noqa: SLF001  a copy of this one
        return family

    @property
    def ink_extent(self) -> float:
        """The median extent of the training images' ink, as a share of their side."""
        return self._pools[Split.TRAINING].classes.ink_extent

    @property
    def ways(self) -> int:
        """N, the number of classes per task."""
        return self.config.ways

    @property
    def shots(self) -> int:
        """K, the number of support images per class."""
        return self.config.shots

    @property
    def queries(self) -> int:
        """The number of query images per class."""
        return self.config.queries

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of an input: (1, P, P)."""
        return (1, self.config.size, self.config.size)

    @property
    def output_size(self) -> int:
        """N, the number of classes per task."""
        return self.config.ways

    def sample(
        self, num_tasks: int, *, split: Split, first_task: int, device: torch.device | str = "cpu"
    ) -> FewShotBatch:
        """Return tasks ``first_task … first_task + M - 1`` of a split; support and query sets are sorted by class.

        Raises:
            FamilySpecError: held-out tasks are requested but there are no held-out classes.
        """
        if split not in self._pools:
            raise FamilySpecError(
                operation="sampling few-shot tasks",
                subject=split.value,
                found="the family was made without held-out classes.",
                hint="Hold out groups or a share of the classes.",
            )
        pool, config = self._pools[split], self.config
        drawn = [self._draw(pool, split, first_task + task) for task in range(num_tasks)]
        images = pool.smooth_images[torch.from_numpy(np.concatenate([task.images for task in drawn]))]
        bends = [task.warp.bends for task in drawn if task.warp.bends is not None]
        warp = Warp(
            maps=np.concatenate([task.warp.maps for task in drawn]), bends=np.concatenate(bends) if bends else None
        )
        inputs = apply_warp(images.to(device), warp, size=config.size)
        if pens := [task.pens for task in drawn if task.pens is not None]:
            inputs = apply_pens(inputs, join_pens(pens))
        inputs = inputs.view(num_tasks, config.ways, config.shots + config.queries, *self.input_shape)
        labels = torch.arange(config.ways, device=device)
        return FewShotBatch(
            support_x=inputs[:, :, : config.shots].flatten(1, 2),
            support_y=labels.repeat_interleave(config.shots).expand(num_tasks, -1),
            query_x=inputs[:, :, config.shots :].flatten(1, 2),
            query_y=labels.repeat_interleave(config.queries).expand(num_tasks, -1),
        )

    def _draw(self, pool: _Pool, split: Split, task: int) -> _DrawnTask:
        config = self.config
        generator = np.random.default_rng([config.seed, _SPLIT_NUMBERS[split], task])
        is_training = split is Split.TRAINING
        within = config.within_group if is_training else config.held_out_within_group
        if pool.group_members and generator.random() < within:
            classes, orientations = pool.draw_within_group(generator, config.ways)
        else:
            classes, orientations = pool.draw_from_all(generator, config.ways)
        is_aligned = is_training and generator.random() < config.aligned
        images = pool.draw_images(generator, classes, config.shots, config.queries, is_aligned=is_aligned)
        repeated = np.repeat(orientations, config.shots + config.queries)
        warp = draw_warp(config.warp if is_training else None, repeated, generator=generator)
        pens = None
        if is_training and config.strokes is not None:
            pens = draw_pens(config.strokes, len(images), generator=generator)
        return _DrawnTask(images=images, warp=warp, pens=pens)


@dataclass(frozen=True, kw_only=True)
class _DrawnTask:
    images: NDArray[np.int64]
    warp: Warp
    pens: Pens | None


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """The classes from which tasks of one split are drawn.

    Attributes:
        classes: the classes.
        smooth_images: [I, R, R] the images, ready to be warped.
        orientations: the number of orientations.
        group_members: for each group with enough classes for a task, their indices.
        group_chances: each group's share of the classes in such groups.
    """

    classes: ImageClasses
    smooth_images: Tensor
    orientations: int
    group_members: tuple[NDArray[np.int64], ...]
    group_chances: NDArray[np.float64]

    @classmethod
    def of(cls, classes: ImageClasses, smooth_images: Tensor, config: ImageTaskConfig, orientations: int) -> _Pool:
        group_of = np.array([found.group for found in classes.classes])
        members = tuple(np.flatnonzero(group_of == group) for group in classes.groups if group)
        members = tuple(found for found in members if len(found) * orientations >= config.ways)
        sizes = np.array([len(found) for found in members], dtype=np.float64)
        return cls(
            classes=classes,
            smooth_images=smooth_images,
            orientations=orientations,
            group_members=members,
            group_chances=sizes / max(sizes.sum(), 1.0),
        )

    def draw_within_group(
        self, generator: np.random.Generator, ways: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw N classes of one group in one orientation, or in several if the group has fewer than N classes."""
        members = self.group_members[generator.choice(len(self.group_members), p=self.group_chances)]
        rounds = math.ceil(ways / len(members))
        classes = np.concatenate([generator.permutation(members) for _ in range(rounds)])[:ways]
        # Within a round no class occurs twice, and no two rounds share an orientation.
        round_orientations = generator.permutation(self.orientations)[:rounds]
        return classes, np.repeat(round_orientations, len(members))[:ways]

    def draw_from_all(self, generator: np.random.Generator, ways: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw N of all classes in all orientations, without replacement."""
        chosen = generator.choice(len(self.classes.classes) * self.orientations, size=ways, replace=False)
        return chosen // self.orientations, chosen % self.orientations

    def draw_images(
        self, generator: np.random.Generator, classes: NDArray[np.int64], shots: int, queries: int, *, is_aligned: bool
    ) -> NDArray[np.int64]:
        """Draw [N · J] image indices, the K support images of each class first; with too few images, queries repeat."""
        found = [self.classes.classes[index] for index in classes.tolist()]
        if is_aligned and len({own.count for own in found}) == 1:
            numbers = _draw_numbers(generator, found[0].count, shots, queries)
            return np.concatenate([own.start + numbers for own in found])
        return np.concatenate([own.start + _draw_numbers(generator, own.count, shots, queries) for own in found])


def _draw_numbers(generator: np.random.Generator, available: int, shots: int, queries: int) -> NDArray[np.int64]:
    order, missing = generator.permutation(available), shots + queries - available
    if missing <= 0:
        return order[: shots + queries]
    # Support images are never queries: a query that is its own support does not measure learning.
    return np.concatenate([order, order[shots:][generator.integers(available - shots, size=missing)]])


def check_classes(classes: ImageClasses, config: ImageTaskConfig, orientations: int) -> None:
    """Raise an error if no task can be drawn from the classes in this number of orientations.

    Raises:
        FamilySpecError: there are too few classes for one task, or one has no more images than shots.
    """
    available = len(classes.classes) * orientations
    if available < config.ways:
        raise FamilySpecError(
            operation="making few-shot tasks",
            subject=f"{config.ways}-way",
            found=f"there are {available} classes.",
            hint="Ask for fewer ways, or give more classes.",
        )
    lacking = next((found for found in classes.classes if found.count <= config.shots), None)
    if lacking is not None:
        raise FamilySpecError(
            operation="making few-shot tasks",
            subject=lacking.path,
            found=f"the class has {lacking.count} images, and a task takes {config.shots} to learn from.",
            hint=f"Each class needs at least {config.shots + 1}: {config.shots} to learn from, one to ask about. "
            "Give more images, or ask for fewer shots.",
        )
