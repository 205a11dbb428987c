"""Actions with which an environment is checked: random ones, and those at the edges of the action space."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

MAX_EDGES = 64
"""Largest number of actions that are tried at the edges of a space."""

HELD_STEPS = 10
"""Steps for which an action is repeated in every second block: actions that change at each step hardly move some
environments."""


def edge_actions(space: spaces.Space[Any]) -> list[tuple[str, Any]]:
    """Return the actions at the edges of a space, each with its name, in the forms in which learnd sends them.

    A Discrete space has its first, last and other choices; a Box its bounds, as far as they are finite.
    """
    if isinstance(space, spaces.Discrete):
        first, count = int(space.start), int(space.n)
        numbers = dict.fromkeys([first, first + count - 1, *range(first, first + min(count, MAX_EDGES - 2))])
        return [(str(number), number) for number in numbers]
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        low, high = _ends_of_choices(space)
        return [(_text(values), values) for values in _corners(low, high)]
    if isinstance(space, spaces.Box):
        low, high = _finite_bounds(space)
        return [(_text(values), values) for values in _corners(low, high)]
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        return list(itertools.islice(_edges_of_parts(space), MAX_EDGES))
    return []


def random_action(space: spaces.Space[Any], generator: np.random.Generator) -> Any:
    """Draw an action as learnd's random actions are drawn: a Box without finite bounds gets numbers in [-1, 1]."""
    if isinstance(space, spaces.Discrete):
        return int(space.start) + int(generator.integers(int(space.n)))
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        low, high = _ends_of_choices(space)
        return generator.integers(low, high, endpoint=True).astype(space.dtype)
    if isinstance(space, spaces.Box):
        low, high = _finite_bounds(space)
        if not np.issubdtype(space.dtype, np.floating):
            drawn: Any = np.uint64 if space.dtype == np.uint64 else np.int64
            numbers = generator.integers(low.astype(drawn), high.astype(drawn), endpoint=True, dtype=drawn)
            return numbers.astype(space.dtype)
        return np.clip(generator.uniform(low.astype(np.float64), high.astype(np.float64)), low, high).astype(
            space.dtype
        )
    if isinstance(space, spaces.Dict):
        return {key: random_action(part, generator) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(random_action(part, generator) for part in space.spaces)
    return space.sample()


def random_actions(space: spaces.Space[Any], seed: int) -> Iterator[Any]:
    """Draw actions without end; in every second block of ``HELD_STEPS`` steps the action stays the same."""
    generator = np.random.default_rng(seed)
    action: Any = None
    for step in itertools.count():
        if step % HELD_STEPS == 0 or (step // HELD_STEPS) % 2 == 0:
            action = random_action(space, generator)
        # A copy, because an environment may keep or change its actions.
        yield action.copy() if isinstance(action, np.ndarray) else action


def _ends_of_choices(space: spaces.MultiDiscrete | spaces.MultiBinary) -> tuple[Any, Any]:
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(space.shape, space.dtype), np.ones(space.shape, space.dtype)
    low = np.broadcast_to(getattr(space, "start", 0), space.nvec.shape).astype(space.dtype)
    return low, (low + space.nvec - 1).astype(space.dtype)


def _finite_bounds(space: spaces.Box) -> tuple[Any, Any]:
    """Return the bounds of a Box; a dimension whose range is infinite or overflows has [-1, 1] within its bounds."""
    if not np.issubdtype(space.dtype, np.floating):
        return space.low, space.high
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite = np.isfinite(space.low) & np.isfinite(space.high) & np.isfinite(np.float32(space.high - space.low))
    low = np.where(is_finite, space.low, np.clip(-1, space.low, space.high)).astype(space.dtype)
    high = np.where(is_finite, space.high, np.clip(1, space.low, space.high)).astype(space.dtype)
    return low, high


def _corners(low: Any, high: Any) -> Iterator[Any]:
    """Return the two ends of a space, and each dimension alone at its upper end while the others are at the lower."""
    yield low.copy()
    yield high.copy()
    if low.size > 1:
        for position in range(min(low.size, MAX_EDGES - 2)):
            corner = low.copy()
            corner.flat[position] = high.flat[position]
            yield corner


def _edges_of_parts(space: spaces.Dict | spaces.Tuple[Any]) -> Iterator[tuple[str, Any]]:
    """Return the edges of each part of a composite space, while the other parts are at their first edge."""
    is_dict = isinstance(space, spaces.Dict)
    parts: dict[Any, Any] = dict(space.spaces) if isinstance(space, spaces.Dict) else dict(enumerate(space.spaces))
    edges = {key: edge_actions(part) or [("a sample", part.sample())] for key, part in parts.items()}
    for key, of_part in edges.items():
        for label, action in of_part:
            whole = {other: action if other == key else edges[other][0][1] for other in edges}
            yield f"{key!r}: {label}", whole if is_dict else tuple(whole.values())


def _text(values: Any) -> str:
    return np.array2string(values, separator=", ", threshold=16)[:200]
