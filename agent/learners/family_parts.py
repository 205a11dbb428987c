"""The names of few-shot families' tensors among all tensors of a checkpoint or a version: ``few_shot/FAMILY/TENSOR``.

FAMILY is the learner's name for the family. RL²'s own tensors have no such prefix.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

PREFIX = "few_shot/"


def part_prefix(name: str) -> str:
    """Return the start of the names of one family's tensors."""
    return f"{PREFIX}{name}/"


def part_of(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return one family's tensors, by their own names."""
    return starting_with(part_prefix(name), tensors)


def as_part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return a family's tensors by the names that they have among all tensors."""
    return {f"{part_prefix(name)}{part}": tensor for part, tensor in tensors.items()}


def without_parts(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that belong to no few-shot family: RL²'s own."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}


def starting_with(start: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start so, by the rest of their names."""
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}
