from __future__ import annotations

import math

import pytest

from agent.output.quantities import ago, short_count, short_duration, short_number, short_size, with_error


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (950, "950"), (12_345, "12.3k"), (999_999, "1000k"), (4_560_000, "4.56M"), (None, "–")],
)
def test_counts_are_short(value: float | None, text: str) -> None:
    assert short_count(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.12345, "0.123"), (-2697.4, "-2697"), (math.nan, "–"), (66.6, "66.6")])
def test_numbers_keep_three_digits(value: float, text: str) -> None:
    assert short_number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(0.96321, 0.0213, "0.963 ± 0.021"), (566.3, 12.0, "566 ± 12"), (0.5, None, "0.5"), (0.5, 0.0, "0.5")],
)
def test_a_mean_is_as_precise_as_its_error(value: float, error: float | None, text: str) -> None:
    assert with_error(value, error) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.21, "3.2 s"), (70, "70 s"), (240, "4 min"), (7500, "2 h 5 min"), (7200, "2 h"), (273_600, "3 d 4 h")],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert short_duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (5 * 2**30, "5.0 GiB"), (None, "–")])
def test_sizes_are_binary(size: int | None, text: str) -> None:
    assert short_size(size) == text


def test_what_is_to_come_is_said_so() -> None:
    assert ago(100.0, now=160.0) == "60 s ago"
    assert ago(160.0, now=100.0) == "in 60 s"
    assert ago(None) == "–"
