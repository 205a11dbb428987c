"""Tests of the usual speed of an environment, and of the limits that follow from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from envs.pace import Pace, limit_s


def test_the_limit_of_an_unknown_environment_is_the_setting() -> None:
    assert limit_s(None, timeout_s=30.0, shortest_s=5.0) == 30.0


def test_an_environment_of_quick_steps_has_the_shortest_limit() -> None:
    assert limit_s(0.0, timeout_s=30.0, shortest_s=5.0) == 5.0
    assert limit_s(0.1, timeout_s=30.0, shortest_s=5.0) == 5.0


def test_a_setting_below_the_shortest_limit_counts() -> None:
    assert limit_s(0.0, timeout_s=1.0, shortest_s=5.0) == 1.0


def test_a_slow_environment_may_take_longer_than_the_setting() -> None:
    assert limit_s(10.0, timeout_s=30.0, shortest_s=5.0) == 30.0
    assert limit_s(25.0, timeout_s=30.0, shortest_s=5.0) == 75.0


def test_the_limit_grows_with_the_longest_step() -> None:
    limits = [limit_s(longest_s, timeout_s=30.0, shortest_s=5.0) for longest_s in (0.0, 0.3, 0.6, 2.0, 12.0, 60.0)]
    assert limits == sorted(limits)


def test_a_pace_is_read_as_it_was_written() -> None:
    pace = Pace(longest_step_s=1.5, longest_reset_s=0.25, steps_per_s=61.0, trial_steps=600.0)
    assert Pace.from_json(pace.to_json()) == pace
    assert Pace.from_json(Pace().to_json()) == Pace()


def test_only_notable_changes_count_as_different() -> None:
    pace = Pace(longest_step_s=1.0, steps_per_s=100.0)
    assert pace.differs(Pace())
    assert not pace.differs(pace)
    assert not pace.differs(replace(pace, steps_per_s=110.0))
    assert pace.differs(replace(pace, steps_per_s=150.0))
    assert pace.differs(replace(pace, longest_reset_s=0.5))
    assert pace.differs(replace(pace, steps_per_s=None))


@pytest.mark.parametrize("nonsense", ["fast", -1.0, float("nan"), float("inf"), None, True, []])
def test_what_is_no_duration_counts_as_unknown(nonsense: Any) -> None:
    values = {"longest_step_s": nonsense, "longest_reset_s": nonsense, "steps_per_s": nonsense}
    assert Pace.from_json(values) == Pace()
