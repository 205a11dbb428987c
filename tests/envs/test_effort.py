"""Tests of the limits of time of a check."""

from __future__ import annotations

from envs.effort import LEAST_S, Effort, thorough


def test_a_thorough_check_keeps_within_its_time() -> None:
    effort = thorough(600.0)
    left = effort.after(200.0)
    assert (left.patience_s, left.endless_s, left.longest_s) == (400.0, 400.0, 30.0)
    assert effort.after(590.0).longest_s == 10.0
    assert effort.after(1000.0).patience_s == LEAST_S


def test_an_admission_has_the_same_patience_however_long_the_parts_before_took() -> None:
    assert Effort().after(1000.0) == Effort()


def test_the_parts_of_a_thorough_check_fit_into_its_time() -> None:
    effort = thorough(100.0)
    assert 6 * effort.contract_s + effort.spaces_s + effort.most_s + effort.variations_s < 100.0
