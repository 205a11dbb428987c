"""Observations whose size varies, as vectors of a fixed size: Sequence and Graph up to a bound, and Text.

The bound of a Sequence is its attribute ``max_length``, that of a Graph its attribute ``max_nodes``: Gymnasium has
neither, so the environment sets it on the space. A Text has ``max_length`` of its own.

- Sequence: one number per place, 1 where there is an element (the mask), then the elements.
- Graph: the mask of the nodes, the nodes, and, if it has edges, for each pair of nodes the number of edges from the one
  to the other and the sum of their values.
- Text: for each place, one number per character of its set, 1 for the character that is there.

Places that are empty are 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import iterate

from .faults import NonsenseError, UnsupportedError, summary

Write = Callable[[Any, Any], None]
"""A function (value, out) that checks a value and writes its numbers to ``out``."""


def bound_of(space: Any, which: str) -> int:
    """Return the largest number of elements or nodes.

    Args:
        space: a Sequence or a Graph.
        which: the name of the space in messages.

    Raises:
        UnsupportedError: the space has no bound.
    """
    name = "max_nodes" if isinstance(space, spaces.Graph) else "max_length"
    bound = getattr(space, name, None)
    if isinstance(bound, (int, np.integer)) and bound > 0:
        return int(bound)
    hint = (
        f"It has no bound. Set the attribute {name} of the space to the largest number of "
        f"{'nodes' if name == 'max_nodes' else 'elements'}, in the environment or in your own function that returns "
        "it, and name that function as module:function."
    )
    raise UnsupportedError(which, repr(space), hint)


class Part(NamedTuple):
    """An element, a node or an edge: the number of its values, and the function that writes them."""

    size: int
    write: Write


def sequence_size(bound: int, element: int) -> int:
    """Return D of a Sequence.

    Args:
        bound: the largest number of elements.
        element: D of an element.
    """
    return bound * (1 + element)


def sequence_writer(space: Any, element: Part, name: str) -> Write:
    """Return a function that writes a sequence."""
    bound = bound_of(space, name)
    stacked = space.stacked_feature_space if space.stack else None

    def write(value: Any, out: Any) -> None:
        out[:] = 0.0
        _write_elements(_elements(value, stacked, name), out, bound, element, f"{name} (max_length)")

    return write


def graph_size(bound: int, node: int, edge: int | None) -> int:
    """Return D of a Graph.

    Args:
        bound: the largest number of nodes.
        node: D of a node.
        edge: D of an edge; None if the space has no edges.
    """
    return bound * (1 + node) + (0 if edge is None else bound * bound * (1 + edge))


def graph_writer(space: Any, node: Part, edge: Part | None, name: str) -> Write:
    """Return a function that writes a graph."""
    bound = bound_of(space, name)
    num_of_nodes = bound * (1 + node.size)

    def write(value: Any, out: Any) -> None:
        if not all(hasattr(value, part) for part in ("nodes", "edges", "edge_links")):
            raise NonsenseError(f"{name} should be a GraphInstance, but it is {summary(value)}.")
        out[:] = 0.0
        nodes = _elements(value.nodes, space.batch_node_space, f"{name}.nodes")
        _write_elements(nodes, out, bound, node, f"{name} (max_nodes)")
        if edge is not None and value.edges is not None:
            edges = _elements(value.edges, space.batch_edge_space, f"{name}.edges")
            links = _links(value.edge_links, len(edges), len(nodes), name)
            _write_edges(edges, links, out[num_of_nodes:].reshape(bound, bound, 1 + edge.size), edge)

    return write


def _write_elements(elements: list[Any], out: Any, bound: int, part: Part, name: str) -> None:
    """Write the mask and the elements to an ``out`` that is 0."""
    _check_bound(len(elements), bound, name)
    out[: len(elements)] = 1.0
    for place, element in enumerate(elements):
        first = bound + place * part.size
        part.write(element, out[first : first + part.size])


def _links(edge_links: Any, num_edges: int, num_nodes: int, name: str) -> Any:
    """Return the checked links of edges, [E, 2]."""
    links = np.asarray(edge_links)
    if links.shape != (num_edges, 2) or links.dtype.kind not in "iu":
        raise NonsenseError(f"{name}.edge_links should be {num_edges} pairs of nodes, but it is {summary(links)}.")
    if num_edges and not (links.min() >= 0 and links.max() < num_nodes):
        raise NonsenseError(f"{name}.edge_links names nodes outside 0 to {num_nodes - 1}: {summary(links)}.")
    return links


def _write_edges(edges: list[Any], links: Any, out: Any, part: Part) -> None:
    """Add edges to [nodes, nodes, 1 + D]: their number, and the sum of their values."""
    values = np.zeros(part.size, np.float32)
    for (start, end), edge in zip(links.tolist(), edges, strict=True):
        part.write(edge, values)
        out[start, end, 0] += 1.0
        out[start, end, 1:] += values


def text_size(space: Any) -> int:
    """Return D of a Text."""
    return int(space.max_length) * len(space.character_set)


def text_writer(space: Any, name: str) -> Write:
    """Return a function that writes a text."""
    num_characters, bound = len(space.character_set), int(space.max_length)
    index = {character: place for place, character in enumerate(sorted(space.character_set))}

    def write(value: Any, out: Any) -> None:
        if not isinstance(value, str):
            raise NonsenseError(f"{name} should be a text, but it is {summary(value)}.")
        _check_bound(len(value), bound, f"{name} (max_length)")
        unknown = [character for character in value if character not in index]
        if unknown:
            raise NonsenseError(f"{name} has {unknown[0]!r}, which its space has not: {summary(value)}.")
        out[:] = 0.0
        for place, character in enumerate(value):
            out[place * num_characters + index[character]] = 1.0

    return write


def _elements(value: Any, stacked: Any, name: str) -> list[Any]:
    """Return the elements of a sequence: those of a tuple, or the rows of stacked arrays."""
    if stacked is None:
        if not isinstance(value, (tuple, list)):
            raise NonsenseError(f"{name} should be a tuple of elements, but it is {summary(value)}.")
        return list(value)
    try:
        return list(iterate(stacked, value))
    except Exception as error:
        raise NonsenseError(f"{name} should be stacked elements, but it is {summary(value)}.") from error


def _check_bound(count: int, bound: int, name: str) -> None:
    if count > bound:
        raise NonsenseError(f"{name} has {count} elements, and its space allows {bound}.")
