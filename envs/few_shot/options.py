"""Declarations of few-shot families: the ``kwargs`` that a family of source ``few_shot`` accepts.

This module does not import torch, so that commands and the daemon can check a declaration quickly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from envs.errors import FamilySpecError
from envs.family import FamilySpec

GLYPHS = "glyphs"
SINUSOIDS = "sinusoids"
SINUSOIDS_META_SGD = "sinusoids-meta-sgd"
SINUSOIDS_AMBIGUOUS = "sinusoids-ambiguous"
REGRESSION_ENTRIES = (SINUSOIDS, SINUSOIDS_META_SGD, SINUSOIDS_AMBIGUOUS)
FEW_SHOT_ENTRIES = (GLYPHS, *REGRESSION_ENTRIES)
"""Values of ``entry`` other than a folder or zip file of images."""

MOST_NUMBERS = 1 << 23
"""Largest number of input numbers of a declared task.

Networks use about a hundred times as many bytes while they learn from several tasks. Recipes of higher way use up to
ten times that in training.
"""

LEAST = {"ways": 2, "size": 16} | dict.fromkeys(("shots", "queries", "alphabets", "characters", "drawers"), 1)
"""Smallest meaningful values, if not 0. The learners halve an image's side four times, hence the least size."""

SHARES = frozenset({"within_group", "held_out_within_group", "held_out_fraction", "aligned"})


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Options of the tasks of a few-shot family of images.

    Attributes:
        ways: N classes per task.
        shots: K support images per class.
        queries: query images per class.
        size: side in pixels of an embedding's input.
        orientations: 1 shows training classes upright, 4 also turns them, 8 turns and mirrors them; each orientation is
            a class.
        within_group: probability that a training task's classes are of one group (alphabet).
        held_out_within_group: probability that a held-out task's classes are of one group.
        aligned: probability that a training task uses the same image numbers of every class.
        is_warped: whether training images are deformed.
        hold_out: groups whose classes are held out; if empty, a share is drawn.
        held_out_fraction: the approximate share to hold out: of the groups if there are enough groups, else of the
            classes.
        seed: seed of the held-out share and of the tasks.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 5
    size: int = 28
    orientations: int = 4
    within_group: float = 0.0
    held_out_within_group: float = 0.0
    aligned: float = 0.0
    is_warped: bool = True
    hold_out: tuple[str, ...] = ()
    held_out_fraction: float = 0.25
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class GlyphOptions(ImageOptions):
    """Options of a family of made-up characters, in addition to those of images.

    Attributes:
        alphabets: number of alphabets.
        characters: number of characters in each alphabet.
        drawers: number of drawings of each character.
    """

    alphabets: int = 16
    characters: int = 20
    drawers: int = 16


@dataclass(frozen=True, kw_only=True)
class SinusoidOptions:
    """Options of the tasks of a family of waves.

    Attributes:
        shots: K support points per task.
        queries: query points per task.
        noise_std: standard deviation of the targets' noise.
        amplitude, frequency, phase: ranges from which a task's wave is drawn; an ambiguous family has its own ranges.
    """

    shots: int = 10
    queries: int = 10
    noise_std: float = 0.0
    amplitude: tuple[float, float] = (0.1, 5.0)
    frequency: tuple[float, float] = (1.0, 1.0)
    phase: tuple[float, float] = (0.0, math.pi)


Options = ImageOptions | GlyphOptions | SinusoidOptions

DEFAULTS: dict[str, Options] = {
    GLYPHS: GlyphOptions(),
    SINUSOIDS: SinusoidOptions(),
    SINUSOIDS_META_SGD: SinusoidOptions(shots=5, frequency=(0.8, 1.2)),
    SINUSOIDS_AMBIGUOUS: SinusoidOptions(queries=20, noise_std=0.3),
}
FIXED = {SINUSOIDS_AMBIGUOUS: ("amplitude", "frequency", "phase")}
"""Options that an entry does not accept."""


def is_regression(entry: str) -> bool:
    """Return whether a few-shot family's targets are numbers instead of classes."""
    return entry in REGRESSION_ENTRIES


def options_of(spec: FamilySpec) -> Options:
    """Return the options in a family's ``kwargs``, with defaults for the others.

    Raises:
        FamilySpecError: a keyword is unknown or its value has no meaning.
    """
    return read_options(spec.entry, spec.kwargs, subject=spec.name)


def read_options(entry: str, kwargs: Mapping[str, Any], *, subject: str) -> Options:
    """Read the keyword arguments of a few-shot family.

    Args:
        entry: one of ``FEW_SHOT_ENTRIES``, or the path of a folder or zip file.
        kwargs: the keyword arguments as written.
        subject: the name of the family in error messages.

    Raises:
        FamilySpecError: a keyword is unknown or its value has no meaning.
    """
    defaults = DEFAULTS.get(entry, ImageOptions())
    names = [field.name for field in fields(defaults) if field.name not in FIXED.get(entry, ())]
    unknown = sorted(set(kwargs) - set(names))
    if unknown:
        raise _refusal(subject, f"it has no {', '.join(unknown)}.", f"It takes {', '.join(names)}.")
    read = {name: _value(subject, name, value, getattr(defaults, name)) for name, value in kwargs.items()}
    options = replace(defaults, **read)
    _refuse_large_tasks(subject, options)
    return options


def _refuse_large_tasks(subject: str, options: Options) -> None:
    examples = options.shots + options.queries
    numbers = examples if isinstance(options, SinusoidOptions) else options.ways * examples * options.size**2
    if numbers > MOST_NUMBERS:
        found = f"a task has {numbers:,} input numbers, and {MOST_NUMBERS:,} at most are learned from at once."
        raise _refusal(subject, found, "Ask for fewer ways, shots or queries, or for smaller images.")


def _value(subject: str, name: str, value: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        return _several(subject, name, value)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise _refusal(subject, f"{name} is {value!r}.", f"{name} is true or false.")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _refusal(subject, f"{name} is {value!r}.", f"{name} is a number.")
    if isinstance(default, int) and value != int(value):
        raise _refusal(subject, f"{name} is {value!r}.", f"{name} is a whole number.")
    least = LEAST.get(name, 0)
    most = 1.0 if name in SHARES else 512 if name == "size" else math.inf
    if not least <= value <= most:
        limits = f"from {least:g} to {most:g}" if math.isfinite(most) else f"at least {least:g}"
        raise _refusal(subject, f"{name} is {value!r}.", f"{name} is {limits}.")
    return type(default)(value)


def _several(subject: str, name: str, value: Any) -> tuple[Any, ...]:
    if name == "hold_out":
        words = [value] if isinstance(value, str) else value
        if isinstance(words, list | tuple) and all(isinstance(word, str) for word in words):
            return tuple(words)
        raise _refusal(subject, f"hold_out is {value!r}.", 'hold_out is a list of groups such as ["Latin", "Greek"].')
    is_range = isinstance(value, list | tuple) and len(value) == 2
    if not is_range or not all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in value):
        raise _refusal(subject, f"{name} is {value!r}.", f"{name} is a range such as [0.8, 1.2].")
    low, high = float(value[0]), float(value[1])
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise _refusal(subject, f"{name} is {value!r}.", "The first number is the lower.")
    return low, high


def _refusal(subject: str, found: str, hint: str) -> FamilySpecError:
    return FamilySpecError(operation="describing few-shot family", subject=subject, found=found, hint=hint)
