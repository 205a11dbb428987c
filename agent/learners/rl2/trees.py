"""Functions over trees of tensors: a tensor, or a registered dataclass or a tuple of trees.

A dataclass is registered by ``@register_node(namespace="")`` of ``optree.dataclasses``. Its fields are subtrees, except
those declared with ``field(metadata=STATIC)``, which tree functions keep unchanged. A field that is None stays None.

Shapes: T steps, B trials, R rows or selected trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, cast

import optree
from jaxtyping import Int64
from torch import Tensor

Tree = TypeVar("Tree")

STATIC: Final = {"pytree_node": False}
"""Metadata of a dataclass field that holds no tensors."""


def map_tensors(function: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """Return a tree with ``function`` applied to every tensor."""
    return cast("Tree", optree.tree_map(function, cast("Any", tree)))


def join_tensors(join: Callable[[tuple[Tensor, ...]], Tensor], trees: Sequence[Tree]) -> Tree:
    """Return one tree whose tensors are joined from the corresponding tensors of all trees."""
    return cast("Tree", optree.tree_map(lambda *parts: join(parts), *cast("Any", trees)))


def tensors_of(tree: object) -> list[Tensor]:
    """Return the tensors of a tree, in the order of its fields."""
    return optree.tree_leaves(cast("Any", tree))


def select_rows(tree: Tree, rows: Int64[Tensor, " R"]) -> Tree:
    """Return some rows of tensors [B, ...]."""
    return map_tensors(lambda values: values.index_select(0, rows), tree)


def select_trials(tree: Tree, trials: Int64[Tensor, " R"], num_steps: int) -> Tree:
    """Return the first steps of some trials, of tensors [T, B, ...]."""
    return map_tensors(lambda values: values[:num_steps].index_select(1, trials), tree)
