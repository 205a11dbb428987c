"""Few-shot families as they are declared: what ``kwargs`` of a family of source ``few_shot`` may say.

Read without torch, so that commands and control can look at a declaration.
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
"""What ``entry`` may be beside a folder or zip file of images."""

MOST_NUMBERS = 1 << 23
"""Most input numbers of a task as declared: networks hold some hundred times as many bytes while they learn from
several, and recipes of higher way in training up to ten times that."""

LEAST = {"ways": 2, "size": 16} | dict.fromkeys(("shots", "queries", "alphabets", "characters", "drawers"), 1)
"""Smallest numbers that have a meaning, where it is not 0: the learners halve an image's side four times."""

SHARES = frozenset({"within_group", "held_out_within_group", "held_out_fraction", "aligned"})


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """What a few-shot family of images may say of its tasks.

    Attributes:
        ways: N classes a task.
        shots: K support images a class.
        queries: query images a class.
        size: side in pixels that an embedding sees.
        orientations: 1 shows training classes upright, 4 turns them too, 8 turns and mirrors them; each is a class.
        within_group: chance that a training task's classes are of one group (alphabet).
        held_out_within_group: the same of a held-out task.
        aligned: chance that a training task takes the same image numbers of every class.
        is_warped: whether training images are deformed.
        hold_out: groups whose classes are held out; empty lets a share be drawn.
        held_out_fraction: about that share: of the groups where there are enough of them, else of the classes.
        seed: of the share and of the tasks.
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
    """What a family of made-up characters may say beside.

    Attributes:
        alphabets: how many there are.
        characters: in each alphabet.
        drawers: drawings of each character.
    """

    alphabets: int = 16
    characters: int = 20
    drawers: int = 16


@dataclass(frozen=True, kw_only=True)
class SinusoidOptions:
    """What a family of waves may say of its tasks.

    Attributes:
        shots: K support points a task.
        queries: query points a task.
        noise_std: of the targets.
        amplitude, frequency, phase: ranges that a task's wave is drawn from; an ambiguous family has its own.
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
"""Options that an entry does not leave open."""


def is_regression(entry: str) -> bool:
    """Whether a few-shot family's targets are numbers; else they are classes."""
    return entry in REGRESSION_ENTRIES


def options_of(spec: FamilySpec) -> Options:
    """What a family's ``kwargs`` say, defaults for the rest.

    Raises:
        FamilySpecError: a keyword is unknown or its value has no meaning.
    """
    return read_options(spec.entry, spec.kwargs, subject=spec.name)


def read_options(entry: str, kwargs: Mapping[str, Any], *, subject: str) -> Options:
    """Read the keyword arguments of a few-shot family.

    Args:
        entry: one of ``FEW_SHOT_ENTRIES``, or the path of a folder or zip file.
        kwargs: as written.
        subject: what to call the family in errors.

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
