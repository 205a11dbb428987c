"""Drawing of the tasks of a family of Gymnasium environments from its declared variations.

The trainer draws a task as plain JSON values, and a worker only applies them. So a task can be stored, and the same
task can be drawn again from its split and its index.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from envs.entries import portable_entry
from envs.errors import FamilySpecError
from envs.family import FamilySpec, Split, in_pool
from envs.gymnasium.variations import Distribution, Variation, VariationTarget
from envs.seeds import key_of

NUM_SIDES = 4
"""One combination of permutations, signs and delays in this many is held out."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of a family of Gymnasium environments.

    Attributes:
        seed: seed of the task's first reset; later episodes continue with the environment's own generator.
        attributes: values set on the unwrapped environment.
        kwargs: keyword arguments for making the environment.
        reset_options: ``options`` of every reset.
        interface: what is changed between policy and environment, by :class:`InterfaceChange`.
    """

    seed: int
    attributes: dict[str, Any]
    kwargs: dict[str, Any]
    reset_options: dict[str, Any]
    interface: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON values; without ``interface`` if nothing is changed there."""
        values = asdict(self)
        return values if self.interface else {name: value for name, value in values.items() if name != "interface"}

    def drawn(self) -> dict[str, Any]:
        """Return the drawn values of all targets by name."""
        return {**self.attributes, **self.kwargs, **self.reset_options, **self.interface}


def draw_tasks(spec: FamilySpec, split: Split, first_task: int, num_tasks: int) -> list[Task]:
    """Draw tasks ``first_task … first_task + num_tasks - 1`` of a split."""
    return [draw_one(spec, split, index) for index in range(first_task, first_task + num_tasks)]


def draw_one(spec: FamilySpec, split: Split, index: int, *, exposure: int = 0) -> Task:
    """Draw a task of a split.

    A task depends on the environment (entry and keyword arguments), the split and the index, not on the family's name.
    The training tasks of a family whose tasks recur are those of its pool, in turn. Their values come back, and each
    time the seed is another one, so that the noise differs. Without variations the seed itself is what comes back.

    Args:
        spec: the family.
        split: training or held-out tasks.
        index: index of the task.
        exposure: number of times that it was begun before.
    """
    key = key_of(json.dumps([portable_entry(spec.entry), spec.kwargs, split.value], sort_keys=True, default=str))
    number, exposure = in_pool(spec, split, index, exposure)
    task = draw_task(spec.variations, entropy=(key, number), is_held_out=split is Split.HELD_OUT)
    if exposure == 0 or not spec.variations:
        return task
    seed = np.random.default_rng(np.random.SeedSequence((key, number, exposure))).integers(2**31 - 1)
    return replace(task, seed=int(seed))


def task_label(task: Task, split: Split, index: int) -> str:
    """Return a task's name for messages: its split, its index and its drawn values."""
    return f"{split.value.replace('_', '-')} task {index}{drawn_values(task)}"


def drawn_values(task: Task) -> str:
    """Return the drawn values of a task in parentheses; an empty text if there are none."""
    values = ", ".join(f"{name}={value}" for name, value in task.drawn().items())
    return f" ({values[:200]})" if values else ""


def draw_task(variations: tuple[Variation, ...], *, entropy: tuple[int, ...], is_held_out: bool | None = None) -> Task:
    """Draw the task that ``entropy`` (family, split and index as integers) determines.

    Args:
        variations: the family's variations.
        entropy: the source of the values.
        is_held_out: the side of :func:`is_on_held_out_side` on which permutations, signs and delays must be; None for
            either.

    Raises:
        FamilySpecError: a sum or product names a value that no earlier variation drew, or a variation is not complete.
    """
    generator = np.random.default_rng(np.random.SeedSequence(entropy))
    seed = int(generator.integers(2**31 - 1))
    drawn: dict[str, Any] = {}
    for variation in variations:
        if variation.target is not VariationTarget.INTERFACE:
            drawn[variation.name] = _draw(variation, drawn, generator)
    interface = tuple(variation for variation in variations if variation.target is VariationTarget.INTERFACE)
    return _task(seed, variations, drawn | _draw_interface(interface, generator, is_held_out=is_held_out))


def is_on_held_out_side(variations: Sequence[Variation], drawn: Mapping[str, Any]) -> bool:
    """Return whether held-out tasks have this combination of permutations, signs and delays.

    The ranks of the values are added. Held-out tasks have the sums that leave 3 when divided by 4, and training tasks
    have the other sums. The unchanged environment, whose sum is 0, belongs to training.

    Args:
        variations: variations of the interface.
        drawn: their values by name.
    """
    return sum(_rank(variation, drawn[variation.name]) for variation in variations) % NUM_SIDES == NUM_SIDES - 1


def has_sides(variations: Sequence[Variation]) -> bool:
    """Return whether the variations of the interface have enough combinations for two sides."""
    return sum(_num_values(variation) - 1 for variation in variations) >= NUM_SIDES - 1


def _draw_interface(
    variations: tuple[Variation, ...], generator: np.random.Generator, *, is_held_out: bool | None
) -> dict[str, Any]:
    """Draw the values of the interface, repeatedly until they are on the given side."""
    is_free = is_held_out is None or not has_sides(variations)
    while True:
        drawn = {variation.name: _draw_change_if_due(variation, generator) for variation in variations}
        if is_free or is_on_held_out_side(variations, drawn) is is_held_out:
            return drawn


def _num_values(variation: Variation) -> int:
    """Return the number of values that are told apart: permutations, signs and whole numbers; 1 for others."""
    match variation.distribution:
        case Distribution.PERMUTATIONS:
            return math.prod(math.factorial(size) for size in variation.options["sizes"])
        case Distribution.SIGNS:
            return 1 << int(variation.options["size"])
        case Distribution.INTEGER:
            return int(variation.high) - int(variation.low) + 1
        case _:
            return 1


def _rank(variation: Variation, value: Any) -> int:
    """Return the number of a value among the values of its variation, counted from 0, the unchanged value."""
    match variation.distribution:
        case Distribution.PERMUTATIONS:
            ranks = 0
            for order in value:
                ranks = ranks * math.factorial(len(order)) + _lexicographic_rank(order)
            return ranks
        case Distribution.SIGNS:
            return sum(1 << place for place, sign in enumerate(value) if sign < 0)
        case Distribution.INTEGER:
            return int(value) - int(variation.low)
        case _:
            return 0


def _lexicographic_rank(order: Sequence[int]) -> int:
    """Return the number of a permutation in lexicographic order; the identity has 0."""
    rank, left = 0, sorted(order)
    for place, number in enumerate(order):
        position = left.index(number)
        rank += position * math.factorial(len(order) - 1 - place)
        del left[position]
    return rank


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
        interface=by_target[VariationTarget.INTERFACE],
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
            return _draw_frozen_lake_map(variation, generator)
        case Distribution.SUM:
            return sum(_operands(variation, drawn))
        case Distribution.PRODUCT:
            return math.prod(_operands(variation, drawn))
        case _:
            raise FamilySpecError(
                operation="drawing variation",
                subject=variation.name,
                found=f"{variation.distribution} values are those of the interface, or of a declaration that was not "
                "completed from the environment.",
                hint="Admit the family first: learnd env add completes it.",
            )


def _draw_change_if_due(variation: Variation, generator: np.random.Generator) -> Any:
    """Draw the value of a variation of the interface; the unchanged value in all but its share of the tasks."""
    drawn, share = _draw_change(variation, generator), variation.options.get("share")
    return drawn if share is None or generator.random() < share else _unchanged(variation)


def _unchanged(variation: Variation) -> Any:
    """Return the value of a variation of the interface that changes nothing."""
    match variation.distribution:
        case Distribution.PERMUTATIONS:
            return [list(range(size)) for size in variation.options["sizes"]]
        case Distribution.SIGNS:
            return [1] * variation.options["size"]
        case Distribution.FACTORS:
            return [1.0] * variation.options["size"]
        case _:
            return 0


def _draw_change(variation: Variation, generator: np.random.Generator) -> Any:
    """Draw the value of a variation of the interface."""
    match variation.distribution:
        case Distribution.PERMUTATIONS:
            return [generator.permutation(size).tolist() for size in variation.options["sizes"]]
        case Distribution.SIGNS:
            return [1 - 2 * sign for sign in generator.integers(2, size=variation.options["size"]).tolist()]
        case Distribution.FACTORS:
            low, high = math.log(variation.low), math.log(variation.high)
            return np.exp(generator.uniform(low, high, size=variation.options["size"])).tolist()
        case _:
            return _draw(variation, {}, generator)


def _operands(variation: Variation, drawn: dict[str, Any]) -> list[float]:
    for name in variation.values:
        if name not in drawn:
            found, hint = f"it combines {name!r}, which no earlier variation draws.", "Declare that one first."
        elif not isinstance(drawn[name], int | float):
            found, hint = f"it combines {name!r}, which is {drawn[name]!r:.60}.", "Combine numbers."
        else:
            continue
        raise FamilySpecError(operation="drawing variation", subject=variation.name, found=found, hint=hint)
    return [drawn[name] for name in variation.values]


MOST_MAP_DRAWS = 2000
"""Maps without a way to the goal that are drawn before a FrozenLake map is given up."""


def _draw_frozen_lake_map(variation: Variation, generator: np.random.Generator) -> list[str]:
    """Return the map that Gymnasium's ``generate_random_map`` draws, which would draw for ever where no map has a way.

    Raises:
        FamilySpecError: none of many maps has a way from the start to the goal.
    """
    from gymnasium.envs.toy_text.frozen_lake import is_valid
    from gymnasium.utils.seeding import np_random

    size, p = variation.options.get("size", 4), variation.options.get("p", 0.8)
    cells, _ = np_random(int(generator.integers(2**31 - 1)))
    for _ in range(MOST_MAP_DRAWS):
        board = cells.choice(["F", "H"], (size, size), p=[p, 1 - p])
        board[0][0], board[-1][-1] = "S", "G"
        if is_valid(board.tolist(), size):
            return ["".join(row) for row in board]
    raise FamilySpecError(
        operation="drawing variation",
        subject=variation.name,
        found=f"none of {MOST_MAP_DRAWS} maps of size {size} with a share of {p:g} frozen cells has a way to the goal.",
        hint="Declare a larger share of frozen cells, such as 0.8, or a smaller map.",
    )


def task_numbers(variations: tuple[Variation, ...], task: Task) -> list[float]:
    """Return the drawn values of a task as a flat list of numbers."""
    drawn = task.drawn()
    numbers: list[float] = []
    for variation in variations:
        value = drawn[variation.name]
        match variation.distribution:
            case Distribution.CHOICE:
                numbers.append(float(variation.values.index(value)))
            case Distribution.PERMUTATIONS:
                numbers += [float(place) for order in value for place in order]
            case Distribution.SIGNS | Distribution.FACTORS:
                numbers += [float(number) for number in value]
            case Distribution.FROZEN_LAKE_MAP:
                numbers += [float(cell == "H") for row in value for cell in row]
            case _:
                numbers.append(float(value))
    return numbers
