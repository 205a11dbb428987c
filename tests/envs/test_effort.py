"""Tests of the limits of time of a check."""

from __future__ import annotations

import pytest

from envs.effort import TimeLimit, TimeUpError, thorough


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_part_gets_its_share_of_what_is_left() -> None:
    watch = Watch()
    whole = TimeLimit(10.0, monotonic=watch)
    watch.now += 5.0
    part = whole.part(0.4)
    assert (whole.left_s(), part.left_s()) == (5.0, 2.0)
    watch.now += 2.0
    with pytest.raises(TimeUpError):
        part.check()
    whole.check()
    watch.now += 60.0
    assert whole.left_s() == 0.0


def test_a_thorough_check_is_as_patient_as_its_time() -> None:
    effort = thorough(600.0)
    assert (effort.whole_s, effort.patience_s, effort.endless_s, effort.longest_s) == (600.0, 600.0, 600.0, 30.0)


def test_the_parts_of_a_thorough_check_fit_into_its_time() -> None:
    effort = thorough(100.0)
    assert 6 * effort.contract_s + effort.spaces_s + effort.most_s + effort.variations_s < 100.0
