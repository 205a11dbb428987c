"""Declared variations: the quantities that differ between the tasks of a family of plain Gymnasium environments.

This module does not import numpy, because every command that opens a store reads declarations.
:mod:`envs.gymnasium.task_drawing` draws tasks from them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from envs.errors import FamilySpecError
from envs.json_fields import ARRAY, NUMBER, OBJECT, TEXT, FieldTypes, checked_fields, unreadable


class VariationTarget(StrEnum):
    """The destination of a drawn value."""

    ATTRIBUTE = "attribute"
    """``setattr`` on the unwrapped environment before each reset."""

    KWARG = "kwarg"
    """A keyword argument: a new environment is made for each task."""

    RESET_OPTION = "reset_option"
    """An entry of ``options`` in every ``reset`` of the task."""

    INTERFACE = "interface"
    """What learnd changes between policy and environment; ``name`` is an :class:`InterfaceChange`."""


class InterfaceChange(StrEnum):
    """A change of what passes between policy and environment. The environment itself stays as it is."""

    ACTIONS = "actions"
    """A permutation of the choices of each action dimension, or of the dimensions of continuous actions."""

    ACTION_SIGNS = "action_signs"
    """A sign for each dimension of continuous actions."""

    OBSERVATIONS = "observations"
    """A permutation of the values of a vector, or of the numbers of a discrete observation."""

    OBSERVATION_SCALES = "observation_scales"
    """A factor for each value of a vector."""

    OBSERVATION_SIGNS = "observation_signs"
    """A sign for each value of a vector."""

    STICKY_ACTIONS = "sticky_actions"
    """The probability that a step repeats the previous action of its episode (Machado et al. 2018, section 5)."""

    REWARD_DELAY = "reward_delay"
    """The number of steps by which rewards are late. The end of an episode pays what is outstanding."""


class Distribution(StrEnum):
    """The distribution or formula of a value."""

    UNIFORM = "uniform"
    LOG_UNIFORM = "log_uniform"
    INTEGER = "integer"
    CHOICE = "choice"
    FROZEN_LAKE_MAP = "frozen_lake_map"
    SUM = "sum"
    PRODUCT = "product"
    PERMUTATIONS = "permutations"
    SIGNS = "signs"
    FACTORS = "factors"
    AUTO = "auto"
    """Not known before the environment is open; :mod:`envs.gymnasium.automatic_variations` completes it."""


@dataclass(frozen=True, kw_only=True)
class Variation:
    """A quantity that differs from task to task.

    Attributes:
        name: the attribute, keyword argument or reset option that takes the value.
        target: the destination of the value.
        distribution: how the value is drawn, or computed from other drawn values (sum, product).
        low: lower bound (uniform, log-uniform, integer, factors).
        high: upper bound, inclusive for integer.
        values: the choices (choice), or the names of the values to combine (sum, product).
        options: settings of a map generator (``size``, ``p``); the lengths of permutations (``sizes``); the number of
            signs or factors (``size``); the share of the tasks in which the interface is changed (``share``; all
            without it); the request of an automatic variation (``form``, ``amount``).
    """

    name: str
    target: VariationTarget = VariationTarget.ATTRIBUTE
    distribution: Distribution = Distribution.UNIFORM
    low: float = 0.0
    high: float = 1.0
    values: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        complaint = _complaint(self)
        if complaint:
            raise FamilySpecError(operation="declaring variation", subject=self.name, found=complaint)

    @classmethod
    def from_json(cls, values: object) -> Variation:
        """Return the variation that :func:`dataclasses.asdict` wrote.

        Raises:
            FamilySpecError: the values are damaged, or a newer version wrote them.
        """
        fields = checked_fields(values, FIELD_TYPES, required=("name", "target", "distribution"), subject="variation")
        for name, known in (("target", list(VariationTarget)), ("distribution", list(Distribution))):
            if fields[name] not in known:
                raise unreadable("variation", f"this version of learnd does not know its {name}, {fields[name]!r}.")
        return cls(
            **{
                **fields,
                "target": VariationTarget(fields["target"]),
                "distribution": Distribution(fields["distribution"]),
                "values": tuple(fields.get("values", ())),
            }
        )


FIELD_TYPES: FieldTypes = {
    "name": TEXT,
    "target": TEXT,
    "distribution": TEXT,
    "low": NUMBER,
    "high": NUMBER,
    "values": ARRAY,
    "options": OBJECT,
}
"""The JSON types of the fields of a :class:`Variation`."""

COMBINATIONS = frozenset({Distribution.SUM, Distribution.PRODUCT})
"""Distributions whose values are computed from values that earlier variations drew."""


def is_open(variations: tuple[Variation, ...]) -> bool:
    """Return whether one of the variations must still be completed from the environment."""
    return any(variation.distribution is Distribution.AUTO for variation in variations)


LARGEST_INTEGER = 2**53
"""Bound of whole numbers: larger ones are not exact, because ranges are written as floats."""

LARGEST_MAP = 128
"""Largest side of a random FrozenLake map."""


def _complaint(variation: Variation) -> str:
    ranged = {Distribution.UNIFORM, Distribution.LOG_UNIFORM, Distribution.INTEGER, Distribution.FACTORS}
    if variation.distribution in ranged and (complaint := _range_complaint(variation)):
        return complaint
    if variation.distribution in {Distribution.LOG_UNIFORM, Distribution.FACTORS} and variation.low <= 0:
        return f"a log-uniform range must be positive, but its low is {variation.low}."
    if variation.distribution is Distribution.CHOICE and not variation.values:
        return "it has no values to choose from."
    if variation.distribution is Distribution.FROZEN_LAKE_MAP:
        return _map_complaint(**{"size": 4, "p": 0.8} | variation.options)
    return ""


def _range_complaint(variation: Variation) -> str:
    low, high = variation.low, variation.high
    largest = LARGEST_INTEGER if variation.distribution is Distribution.INTEGER else sys.float_info.max / 2
    if not (abs(low) <= largest and abs(high) <= largest):
        return f"its range, {low!r:.40} to {high!r:.40}, is not within ±{largest:g}."
    return "" if low <= high else f"its low, {low}, is above its high, {high}."


def _map_complaint(size: object, p: object, **others: object) -> str:
    if others:
        return f"a map has the options size and p, and not {', '.join(others)}."
    if not isinstance(size, int) or isinstance(size, bool) or not 2 <= size <= LARGEST_MAP:
        return f"the size of its map, {size!r}, is not a whole number from 2 to {LARGEST_MAP}."
    if not isinstance(p, int | float) or isinstance(p, bool) or not 0 < p <= 1:
        return f"the share of frozen cells of its map, {p!r}, is not between 0 and 1."
    return ""
