"""Keyword arguments of tensor families, checked when a family is declared.

This module does not import torch, so that commands and the daemon can check a declaration quickly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envs.default_families import (
    BERNOULLI_BANDITS,
    DARK_ROOMS,
    NAVIGATION,
    RECURRING_BANDITS,
    TABULAR_MDPS,
    VARIED_CARTPOLE,
)
from envs.errors import FamilySpecError
from envs.family import FamilySpec
from envs.toml_values import is_finite

MOST_CHOICES = 4096
"""Largest number of actions, as for environments in a worker."""

MOST_INDICES = 65536
"""Largest number of different observations, as for environments in a worker."""

MOST_TRANSITIONS = 1 << 20
"""Largest number of transition probabilities of a tabular MDP, S × A × S. Each task of a trial batch has so many."""

RANGES = {
    "length": (0.25, 1.0),
    "masspole": (0.05, 0.5),
    "masscart": (0.5, 2.0),
    "force_mag": (5.0, 15.0),
    "gravity": (7.0, 13.0),
}
"""The parameters of a varied CartPole: half the pole's length in m, masses in kg, force in N, gravity in m/s²."""


@dataclass(frozen=True, kw_only=True)
class WholeNumber:
    """The bounds of a whole number.

    Attributes:
        default: the value if the option is not given; None if it has no number then.
        least: smallest value.
        most: largest value.
    """

    default: int | None
    least: int
    most: int


OPTIONS: Mapping[str, Mapping[str, WholeNumber]] = {
    BERNOULLI_BANDITS: {"num_arms": WholeNumber(default=5, least=1, most=MOST_CHOICES)},
    TABULAR_MDPS: {
        "num_states": WholeNumber(default=10, least=1, most=MOST_INDICES),
        "num_actions": WholeNumber(default=5, least=1, most=MOST_CHOICES),
        "horizon": WholeNumber(default=10, least=1, most=2**31 - 1),
    },
    NAVIGATION: {},
    RECURRING_BANDITS: {
        "num_arms": WholeNumber(default=10, least=2, most=MOST_CHOICES),
        "barcode_bits": WholeNumber(default=10, least=1, most=16),
        "num_contexts": WholeNumber(default=10, least=1, most=1 << 16),
    },
    DARK_ROOMS: {
        "size": WholeNumber(default=10, least=3, most=256),
        "split": WholeNumber(default=None, least=0, most=2**63 - 1),
    },
}
"""The keyword arguments of each tensor family but a varied CartPole, whose arguments are those of ``RANGES``."""


def check_tensor_options(entry: str, kwargs: Mapping[str, Any]) -> None:
    """Check the keyword arguments of a tensor family.

    Raises:
        FamilySpecError: a keyword is unknown, or its value has no meaning.
    """
    if entry == VARIED_CARTPOLE:
        cartpole_ranges(kwargs, subject=entry)
        return
    options = OPTIONS[entry]
    for name, value in kwargs.items():
        if name not in options:
            takes = f"It takes {', '.join(options)}." if options else "It takes no keyword arguments."
            raise _refusal(entry, f"it has no {name}.", takes)
        _check_number(entry, name, value, options[name])
    numbers = {name: kwargs.get(name, option.default) for name, option in options.items()}
    if entry == TABULAR_MDPS and (size := numbers["num_states"] ** 2 * numbers["num_actions"]) > MOST_TRANSITIONS:
        found = f"a task has {size:,} transition probabilities, and {MOST_TRANSITIONS:,} at most are learned from."
        raise _refusal(entry, found, "Ask for fewer states or actions.")
    if entry == RECURRING_BANDITS and numbers["num_contexts"] > 2 ** int(numbers["barcode_bits"]):
        found = f"{numbers['barcode_bits']} bits do not give {numbers['num_contexts']} different barcodes."
        raise _refusal(entry, found, "Ask for more barcode_bits, or fewer num_contexts.")


def whole_number(spec: FamilySpec, name: str) -> int:
    """Return the value of a keyword argument of a declared family, or its default."""
    value: Any = spec.kwargs.get(name, OPTIONS[spec.entry][name].default)
    return int(value)


def cartpole_ranges(kwargs: Mapping[str, Any], *, subject: str) -> dict[str, tuple[float, float]]:
    """Return ``RANGES`` with a family's own settings in place.

    Args:
        kwargs: names of ``RANGES``, each with a number (the same in every task) or ``[low, high]``.
        subject: the name of the family in error messages.

    Raises:
        FamilySpecError: ``kwargs`` contains a name that does not vary, or bounds without physical meaning.
    """
    ranges = dict(RANGES)
    for name, value in kwargs.items():
        bounds = tuple(value) if isinstance(value, list | tuple) else (value, value)
        is_range = len(bounds) == 2 and all(map(_is_number, bounds))
        if name not in RANGES or not is_range or not 0.0 < bounds[0] <= bounds[1]:
            hint = f"Set any of {', '.join(RANGES)} to a positive number, or to [low, high]."
            raise _refusal(subject, f"{name}={value!r:.60} sets nothing of a varied CartPole.", hint)
        ranges[name] = (float(bounds[0]), float(bounds[1]))
    return ranges


def _check_number(entry: str, name: str, value: Any, option: WholeNumber) -> None:
    if value is None and option.default is None:
        return
    if not _is_number(value) or value != int(value) or not option.least <= value <= option.most:
        limits = f"{name} is a whole number from {option.least} to {option.most}."
        raise _refusal(entry, f"{name} is {value!r:.60}.", limits)


def _is_number(value: object) -> bool:
    """Return whether a value is a number that a float can be, and neither infinite nor NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and is_finite(value)


def _refusal(entry: str, found: str, hint: str) -> FamilySpecError:
    return FamilySpecError(operation="describing family", subject=entry, found=found, hint=hint)
