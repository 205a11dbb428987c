"""The order of groups of tests in a parallel run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

TESTS_BETWEEN_GROUPS = 300


def spread_out(items: Sequence[pytest.Item], *, between: int = TESTS_BETWEEN_GROUPS) -> list[pytest.Item]:
    """Return the tests with their groups spread out, the largest first.

    Tests of a group mostly wait for a live service. If several groups ran at once, the cores would have nothing to do.

    Args:
        items: the tests.
        between: number of tests without a group from the start of one group to the start of the next.
    """
    groups: dict[str, list[pytest.Item]] = {}
    others = []
    for item in items:
        name = _group_of(item)
        if name is None:
            others.append(item)
        else:
            groups.setdefault(name, []).append(item)
    order: list[pytest.Item] = []
    for number, group in enumerate(sorted(groups.values(), key=len, reverse=True)):
        order += [*group, *others[number * between : (number + 1) * between]]
    return [*order, *others[len(groups) * between :]]


def _group_of(item: pytest.Item) -> str | None:
    marker = item.get_closest_marker("xdist_group")
    return None if marker is None else str(marker.args[0])
