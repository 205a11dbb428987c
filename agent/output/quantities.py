"""Numbers, sizes and times as short text."""

from __future__ import annotations

import math
import time
from datetime import datetime

import humanize

NOTHING = "–"
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


def short_count(value: float | None) -> str:
    """Return a count in at most five characters: 950, 12.3k, 4.56M."""
    if value is None:
        return NOTHING
    return f"{value:g}" if abs(value) < 1000 else humanize.metric(value).replace(" ", "")


def short_number(value: float | None, *, digits: int = 3) -> str:
    """Return a measured number with ``digits`` significant digits."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"


def short_score(value: float | None) -> str:
    """Return a score with two decimals."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{round(value, 2) + 0.0:.2f}"  # adding 0 turns -0 into 0


def with_error(value: float | None, standard_error: float | None) -> str:
    """Return a mean with its standard error, both at the precision that the error allows."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if not standard_error or not math.isfinite(standard_error):
        return short_number(value)
    decimals = max(0, min(4, 1 - math.floor(math.log10(standard_error))))
    return f"{value:.{decimals}f} ± {standard_error:.{decimals}f}"


def short_size(size_bytes: float | None) -> str:
    """Return a size in IEC units: 950 Bytes, 1.5 KiB, 5.0 GiB."""
    return NOTHING if size_bytes is None else humanize.naturalsize(size_bytes, binary=True)


def short_duration(seconds: float | None) -> str:
    """Return a duration in its two largest units: 3.2 seconds, 2 hours and 5 minutes, 3 days and 4 hours."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return humanize.precisedelta(max(seconds, 0.0), format="%.1f")
    smallest = "seconds" if seconds < HOUR_S else "minutes" if seconds < DAY_S else "hours"
    return humanize.precisedelta(seconds, minimum_unit=smallest, suppress=("months", "years"), format="%.0f")


def moment(at: float | None) -> str:
    """Return a date and time of day in local time."""
    if at is None or not math.isfinite(at):
        return NOTHING
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(at: float | None, *, now: float | None = None) -> str:
    """Return the time since ``at``, or until ``at``, in its largest unit: 2 hours ago, 3 minutes from now."""
    if at is None or not math.isfinite(at):
        return NOTHING
    seconds = (time.time() if now is None else now) - at
    try:
        return humanize.naturaltime(seconds, future=seconds < 0)
    except OverflowError:  # a damaged row
        return NOTHING
