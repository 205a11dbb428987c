"""Opening of few-shot families: from a declaration to tasks that can be drawn."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from envs.errors import FamilySpecError
from envs.family import FamilySource, FamilySpec
from envs.few_shot.images.classes import ImageClasses, read_image_folder
from envs.few_shot.images.folder import ImageFamily, ImageTaskConfig
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from envs.few_shot.images.warps import WarpConfig
from envs.few_shot.options import (
    SINUSOIDS_AMBIGUOUS,
    GlyphOptions,
    ImageOptions,
    SinusoidOptions,
    options_of,
)
from envs.few_shot.sinusoids import ForkedSinusoids, Sinusoids
from envs.few_shot.tasks import FewShotFamily

READ_SCALE = 3
"""Side of a stored image relative to that of an embedding's input. Warps need the additional pixels for averaging."""

MAX_IMAGE_BYTES = 512 * 2**20
"""Largest size of a family's stored images in bytes. Opening a family takes about three times as much memory."""

LEAST_GROUPS = 4
"""From this number of groups on, whole groups are held out."""

Report = Callable[[int], None]
"""A function that is called with the number of images read so far."""


def open_few_shot(spec: FamilySpec, *, report: Report | None = None) -> FewShotFamily:
    """Open a family of source ``few_shot``.

    Equal declarations (and, for a folder, equal images) give equal tasks, whenever they are opened.

    Args:
        spec: the family.
        report: called as images are read.

    Raises:
        FamilySpecError: its keyword arguments have no meaning, or its images do not suffice for them.
        ImageReadError: its folder, or an image in it, cannot be read.
    """
    if spec.source is not FamilySource.FEW_SHOT:
        raise FamilySpecError(
            operation="opening few-shot family",
            subject=spec.name,
            found=f"it is a family of source {spec.source}.",
            hint="Families of few-shot tasks are declared with --few-shot, or are sinusoids.",
        )
    options = options_of(spec)
    if isinstance(options, SinusoidOptions):
        return _sinusoids(spec.entry, options)
    if isinstance(options, GlyphOptions):
        classes = _drawn_glyphs(options, subject=spec.name, report=report)
    else:
        size = READ_SCALE * options.size
        most = MAX_IMAGE_BYTES // size**2
        classes = read_image_folder(Path(spec.entry), size=size, most_images=most, report=report)
    return family_of_images(classes, options, subject=spec.name)


def _drawn_glyphs(options: GlyphOptions, *, subject: str, report: Report | None) -> ImageClasses:
    config = GlyphConfig(
        alphabets=options.alphabets,
        characters=options.characters,
        drawers=options.drawers,
        size=2 * options.size,
        seed=options.seed,
    )
    num_images, most = config.alphabets * config.characters * config.drawers, MAX_IMAGE_BYTES // config.size**2
    if num_images > most:
        raise FamilySpecError(
            operation="describing few-shot family",
            subject=subject,
            found=f"there would be {num_images:,} drawings, and {most:,} of this size fit in memory.",
            hint="Ask for fewer alphabets, characters or drawers, or for a smaller size.",
        )
    return draw_glyphs(config, report=report)


def family_of_images(classes: ImageClasses, options: ImageOptions, *, subject: str) -> ImageFamily:
    """Create a family from images already read, with some of the classes held out.

    Args:
        classes: all classes.
        options: the options of tasks and of holding out.
        subject: the name of the family in error messages.

    Raises:
        FamilySpecError: there are too few classes, or too few images of one.
    """
    _check_counts(classes, options, subject)
    training, held_out = split_classes(classes, options, subject=subject)
    tasks = ImageTaskConfig(
        ways=options.ways,
        shots=options.shots,
        queries=options.queries,
        size=options.size,
        within_group=options.within_group,
        held_out_within_group=options.held_out_within_group,
        orientations=options.orientations,
        aligned=options.aligned,
        warp=WarpConfig() if options.is_warped else None,
        seed=options.seed,
    )
    return ImageFamily(tasks, training=training, held_out=held_out)


def split_classes(classes: ImageClasses, options: ImageOptions, *, subject: str) -> tuple[ImageClasses, ImageClasses]:
    """Split the classes into training and held-out ones, with enough of each for a task.

    Whole groups (alphabets) are held out if they are named or if there are enough groups; otherwise single classes.
    Each group or class is assigned by a hash of its own name, so adding classes never moves existing ones between the
    splits (except when there are too few).

    Raises:
        FamilySpecError: there are too few classes for both splits.
        ImageReadError: a named group does not exist.
    """
    if options.hold_out:
        split = classes.hold_out_groups(options.hold_out)
        _check_split(split, options, subject)
        return split
    sizes = Counter(found.group for found in classes.classes if found.group)
    if len(sizes) >= LEAST_GROUPS:
        split = classes.hold_out_groups(_drawn(sizes, options))
        if _is_enough(split, options):
            return split
    held_out = set(_drawn({found.path: 1 for found in classes.classes}, options))
    split = (
        classes.only(lambda found: found.path not in held_out),
        classes.only(lambda found: found.path in held_out),
    )
    _check_split(split, options, subject)
    return split


def _drawn(sizes: Mapping[str, int], options: ImageOptions) -> list[str]:
    """Return the names to hold out. A hash of each name decides, so that names added later do not change the others.

    Args:
        sizes: all names, each with its number of classes.
        options: the share to hold out, and the seed. If the share contains fewer classes than a task's ways, the names
            with the next larger hashes are added.
    """
    numbers = {name: _number(name, seed=options.seed) for name in sizes}
    chosen: list[str] = []
    for name in sorted(sizes, key=numbers.__getitem__):
        if numbers[name] >= options.held_out_fraction and sum(map(sizes.__getitem__, chosen)) >= options.ways:
            break
        chosen.append(name)
    return chosen


def _number(name: str, *, seed: int) -> float:
    """Return a number in [0, 1) for a name, uniform over names."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2.0**64


def _is_enough(split: tuple[ImageClasses, ImageClasses], options: ImageOptions) -> bool:
    training, held_out = split
    return len(training.classes) * options.orientations >= options.ways and len(held_out.classes) >= options.ways


def _check_split(split: tuple[ImageClasses, ImageClasses], options: ImageOptions, subject: str) -> None:
    if _is_enough(split, options):
        return
    training, held_out = (len(part.classes) for part in split)
    raise FamilySpecError(
        operation="describing few-shot family",
        subject=subject,
        found=f"{training} classes to train on (each in {options.orientations} orientations) and {held_out} held out "
        f"do not suffice for tasks of {options.ways} ways.",
        hint="Ask for fewer ways, or give more classes; training and held-out tasks share none.",
    )


def _check_counts(classes: ImageClasses, options: ImageOptions, subject: str) -> None:
    if len(classes.classes) < options.ways:
        raise FamilySpecError(
            operation="describing few-shot family",
            subject=subject,
            found=f"there are {len(classes.classes)} classes, and a task has {options.ways} ways.",
            hint="Ask for fewer ways, or give more classes.",
        )


def _sinusoids(entry: str, options: SinusoidOptions) -> FewShotFamily:
    if entry == SINUSOIDS_AMBIGUOUS:
        return ForkedSinusoids(shots=options.shots, queries=options.queries, noise_std=options.noise_std)
    return Sinusoids(
        shots=options.shots,
        queries=options.queries,
        noise_std=options.noise_std,
        amplitude=options.amplitude,
        frequency=options.frequency,
        phase=options.phase,
    )
