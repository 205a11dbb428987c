"""Drawing of the tasks of a family of Gymnasium environments from its declared variations.

The trainer draws a task as plain JSON values, and a worker only applies them. So a task can be stored, and the same
task can be drawn again from its split and its index.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from envs.errors import FamilySpecError
from envs.gymnasium.variations import Distribution, Variation, VariationTarget


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
