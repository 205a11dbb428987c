from __future__ import annotations

import math

import pytest

from agent.output.quantities import (
    ago,
    short_count,
    short_duration,
    short_number,
    short_score,
    short_size,
    with_error,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (950, "950"), (12_345, "12.3k"), (999_999, "1.00M"), (4_560_000, "4.56M"), (None, "–")],
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
    [
        (-0.1, "0 seconds"),
        (3.21, "3.2 seconds"),
        (70, "1 minute and 10 seconds"),
        (3599.6, "1 hour"),
        (7500, "2 hours and 5 minutes"),
        (7200, "2 hours"),
        (273_600, "3 days and 4 hours"),
        (68 * 86_400, "68 days"),
        (None, "–"),
    ],
)
def test_durations_have_two_units(seconds: float | None, text: str) -> None:
    assert short_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 Bytes"), (1536, "1.5 KiB"), (5 * 2**30, "5.0 GiB"), (3 * 2**40, "3.0 TiB"), (None, "–")]
)
def test_sizes_are_binary(size: int | None, text: str) -> None:
    assert short_size(size) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.625, "0.62"), (-0.004, "0.00"), (-10.0, "-10.00"), (None, "–"), (math.nan, "–")]
)
def test_scores_have_two_decimals_and_no_negative_zero(value: float | None, text: str) -> None:
    assert short_score(value) == text


def test_what_is_to_come_is_said_so() -> None:
    assert ago(100.0, now=160.0) == "a minute ago"
    assert ago(160.0, now=100.0) == "a minute from now"
    assert ago(None) == "–"


def test_a_time_beyond_the_calendar_is_no_error() -> None:
    assert ago(1e300) == "–"
