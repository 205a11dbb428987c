"""The search that bounds FrozenLake without a cue is right on maps that are counted by hand."""

from __future__ import annotations

import pytest

from benchmarks.recurrence.frozen_lakes import search_known_pool

LEFT, RIGHT = "SFHFHFFFG", "SHFFFHFFG"
"""3 × 3: the way along the left side is safe on both; that along the upper side on neither."""

ONLY_UP, ONLY_DOWN = "SFFHHFFFG", "SHFFHFFFG"
"""3 × 3: the only safe way is along the upper side, or along the left side."""


def test_a_route_that_is_safe_on_all_maps_is_taken_at_once() -> None:
    assert search_known_pool([LEFT, RIGHT], num_episodes=2) == [1.0, 1.0]


def test_a_wrong_first_route_tells_which_map_it_is() -> None:
    assert search_known_pool([ONLY_UP, ONLY_DOWN], num_episodes=3) == pytest.approx([0.5, 1.0, 1.0])
