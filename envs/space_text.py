"""The description of spaces for people. Nothing here loads numpy, so that the command line can use it without delay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_FACTORS = 8
"""Equal numbers of choices that are written out; more are a power."""


def spaces_text(values: Mapping[str, Any]) -> str:
    """Return a space pair as text, such as "4 numbers → 2 choices".

    Args:
        values: ``SpacePair.to_json()``.
    """
    observation, action = values["observation"], values["action"]
    observed = _observed_text(observation)
    parts = [f"{_product(action['choices'])} choices"] if action["choices"] else []
    parts += [_counted(len(action["low"]), "number")] if action["low"] else []
    return f"{observed} → {' and '.join(parts)}"


def _product(choices: Sequence[int]) -> str:
    """Return numbers of choices as a product; many equal ones as a power."""
    if len(choices) > MOST_FACTORS and len(set(choices)) == 1:
        return f"{choices[0]}^{len(choices)}"
    return " × ".join(str(count) for count in choices)


def _observed_text(observation: Mapping[str, Any]) -> str:
    size = observation["size"]
    if observation["kind"] == "discrete":
        return f"one of {size} observations"
    if observation["kind"] != "image":
        numbers, distinct = _counted(size, "number"), observation.get("num_distinct", 0)
        return f"{numbers} ({distinct} different observations)" if distinct else numbers
    sizes = [f"{image['height']} x {image['width']} x {image['channels']}" for image in observation["images"]]
    images = f"an image of {sizes[0]}" if len(sizes) == 1 else f"images of {' and '.join(sizes)}"
    return f"{images} and {_counted(size, 'number')}" if size else images


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
