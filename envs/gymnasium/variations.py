"""Declared variations: the quantities that differ between the tasks of a family of plain Gymnasium environments.

The trainer draws a task as plain JSON values, and a worker only applies them. So a task can be stored, and the same
task can be drawn again from its split and its index.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from envs.errors import FamilySpecError


class VariationTarget(StrEnum):
    """The destination of a drawn value."""

    ATTRIBUTE = "attribute"
    """``setattr`` on the unwrapped environment before each reset."""

    KWARG = "kwarg"
    """A keyword argument: a new environment is made for each task."""

    RESET_OPTION = "reset_option"
    """An entry of ``options`` in every ``reset`` of the task."""


class Distribution(StrEnum):
    """The distribution or formula of a value."""

    UNIFORM = "uniform"
    LOG_UNIFORM = "log_uniform"
    INTEGER = "integer"
    CHOICE = "choice"
    FROZEN_LAKE_MAP = "frozen_lake_map"
    SUM = "sum"
    PRODUCT = "product"


@dataclass(frozen=True, kw_only=True)
class Variation:
    """A quantity that differs from task to task.

    Attributes:
        name: the attribute, keyword argument or reset option that takes the value.
        target: the destination of the value.
        distribution: how the value is drawn, or computed from other drawn values (sum, product).
        low: lower bound (uniform, log-uniform, integer).
        high: upper bound, inclusive for integer.
        values: the choices (choice), or the names of the values to combine (sum, product).
        options: settings of a map generator (``size``, ``p``).
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
    def from_json(cls, values: dict[str, Any]) -> Variation:
        """Return the variation that :func:`dataclasses.asdict` wrote."""
        return cls(
            **{
                **values,
                "target": VariationTarget(values["target"]),
                "distribution": Distribution(values["distribution"]),
                "values": tuple(values["values"]),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of a family of Gymnasium environments.

    Attributes:
        seed: seed of the task's first reset; later episodes continue with the environment's own generator.
        attributes: values set on the unwrapped environment.
        kwargs: keyword arguments for making the environment.
        reset_options: ``options`` of every reset.
    """

    seed: int
    attributes: dict[str, Any]
    kwargs: dict[str, Any]
    reset_options: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON values."""
        return asdict(self)

    def drawn(self) -> dict[str, Any]:
        """Return the drawn values of all targets by name."""
        return {**self.attributes, **self.kwargs, **self.reset_options}


COMBINATIONS = frozenset({Distribution.SUM, Distribution.PRODUCT})


def _complaint(variation: Variation) -> str:
    ranged = {Distribution.UNIFORM, Distribution.LOG_UNIFORM, Distribution.INTEGER}
    if variation.distribution in ranged and not variation.low <= variation.high:
        return f"its low, {variation.low}, is above its high, {variation.high}."
    if variation.distribution is Distribution.LOG_UNIFORM and variation.low <= 0:
        return f"a log-uniform range must be positive, but its low is {variation.low}."
    if variation.distribution is Distribution.CHOICE and not variation.values:
        return "it has no values to choose from."
    return ""


def draw_task(variations: tuple[Variation, ...], *, entropy: tuple[int, ...]) -> Task:
    """Draw the task that ``entropy`` (family, split and index as integers) determines.

    Raises:
        FamilySpecError: a sum or product names a value that no earlier variation drew.
    """
    generator = np.random.default_rng(np.random.SeedSequence(entropy))
    seed = int(generator.integers(2**31 - 1))
    drawn: dict[str, Any] = {}
    for variation in variations:
        drawn[variation.name] = _draw(variation, drawn, generator)
    return _task(seed, variations, drawn)


def vary_one(variations: tuple[Variation, ...], task: Task, name: str, value: Any) -> Task:
    """Return the task with another value of one variation; sums and products are computed again."""
    drawn = task.drawn() | {name: value}
    for variation in variations:
        if variation.distribution is Distribution.SUM:
            drawn[variation.name] = sum(_operands(variation, drawn))
        elif variation.distribution is Distribution.PRODUCT:
            drawn[variation.name] = math.prod(_operands(variation, drawn))
    return _task(task.seed, variations, drawn)


def _task(seed: int, variations: tuple[Variation, ...], drawn: dict[str, Any]) -> Task:
    by_target = {
        target: {v.name: drawn[v.name] for v in variations if v.target is target} for target in VariationTarget
    }
    return Task(
        seed=seed,
        attributes=by_target[VariationTarget.ATTRIBUTE],
        kwargs=by_target[VariationTarget.KWARG],
        reset_options=by_target[VariationTarget.RESET_OPTION],
    )


def _draw(variation: Variation, drawn: dict[str, Any], generator: np.random.Generator) -> Any:
    match variation.distribution:
        case Distribution.UNIFORM:
            return float(generator.uniform(variation.low, variation.high))
        case Distribution.LOG_UNIFORM:
            return float(math.exp(generator.uniform(math.log(variation.low), math.log(variation.high))))
        case Distribution.INTEGER:
            return int(generator.integers(int(variation.low), int(variation.high) + 1))
        case Distribution.CHOICE:
            return variation.values[int(generator.integers(len(variation.values)))]
        case Distribution.FROZEN_LAKE_MAP:
            return _draw_frozen_lake_map(variation.options, generator)
        case Distribution.SUM:
            return sum(_operands(variation, drawn))
        case Distribution.PRODUCT:
            return math.prod(_operands(variation, drawn))


def _operands(variation: Variation, drawn: dict[str, Any]) -> list[float]:
    try:
        return [drawn[name] for name in variation.values]
    except KeyError as error:
        raise FamilySpecError(
            operation="drawing variation",
            subject=variation.name,
            found=f"it combines {error.args[0]!r}, which no earlier variation draws.",
            hint="Declare that one first.",
        ) from error


def _draw_frozen_lake_map(options: dict[str, Any], generator: np.random.Generator) -> list[str]:
    from gymnasium.envs.toy_text.frozen_lake import generate_random_map

    return list(generate_random_map(options.get("size", 4), options.get("p", 0.8), int(generator.integers(2**31 - 1))))
