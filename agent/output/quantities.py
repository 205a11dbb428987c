"""Numbers, sizes and times as short text."""

from __future__ import annotations

import math
import time
from datetime import datetime

NOTHING = "–"


def short_count(value: float | None) -> str:
    """Return a count in at most five characters: 950, 12.3k, 4.56M."""
    if value is None:
        return NOTHING
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            scaled = value / factor
            return f"{scaled:.3g}{suffix}" if scaled < 999.5 else f"{scaled:.0f}{suffix}"
    return f"{value:g}"


def short_number(value: float | None, *, digits: int = 3) -> str:
    """Return a measured number with ``digits`` significant digits."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"


def with_error(value: float | None, standard_error: float | None) -> str:
    """Return a mean with its standard error, both at the precision that the error allows."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if not standard_error or not math.isfinite(standard_error):
        return short_number(value)
    decimals = max(0, min(4, 1 - math.floor(math.log10(standard_error))))
    return f"{value:.{decimals}f} ± {standard_error:.{decimals}f}"


def short_size(size_bytes: float | None) -> str:
    """Return a size in B, KiB, MiB or GiB."""
    if size_bytes is None:
        return NOTHING
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def short_duration(seconds: float | None) -> str:
    """Return a duration in at most two units: 3.2 s, 4 min, 2 h 5 min, 3 d 4 h."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def moment(at: float | None) -> str:
    """Return a date and time of day in local time."""
    if at is None or not math.isfinite(at):
        return NOTHING
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(at: float | None, *, now: float | None = None) -> str:
    """Return the time since ``at``, or until ``at``: 60 s ago, in 60 s."""
    if at is None or not math.isfinite(at):
        return NOTHING
    seconds = (time.time() if now is None else now) - at
    return f"{short_duration(seconds)} ago" if seconds >= 0 else f"in {short_duration(-seconds)}"
