"""Durations and sizes in the form that users write: "90s", "6h", "1GiB"."""

from __future__ import annotations

import math
import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
_SIZE = re.compile(r"\s*\d+(?:\.\d+)?\s*(?:b|[kmgt]i?b)?\s*", re.IGNORECASE)

DURATION_FORM = 'a duration such as "90s", "5m", "6h", "1h30m", "7d", or a number of seconds, 0 or more'
MAX_DURATION_S = 100 * 365 * 86400.0
"""Longest duration: 100 years. The sum of a time of this century and a longer one may be no valid date."""
MAX_SIZE_BYTES = 2**63 - 1

SIZE_FORM = 'a size such as "512MiB", "4GiB", or a number of bytes, 0 or more'


def parse_duration(value: object) -> float:
    """Return the seconds in ``value``.

    Args:
        value: a number of seconds, or a text such as "90s" or "1h30m".

    Raises:
        ValueError: the value is neither, or is negative or not finite.
    """
    if isinstance(value, bool):
        raise ValueError(DURATION_FORM)  # noqa: TRY004 -- pydantic expects a ValueError
    if isinstance(value, str):
        value = _duration_of_text(value)
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(DURATION_FORM)
    return float(value)


def _duration_of_text(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    seconds, position = 0.0, 0
    while position < len(text):
        part = _DURATION_PART.match(text, position)
        if part is None:
            raise ValueError(DURATION_FORM)
        seconds += float(part[1]) * _SECONDS[part[2]]
        position = part.end()
    if position == 0:
        raise ValueError(DURATION_FORM)
    return seconds


def parse_size(value: object) -> int:
    """Return the bytes in ``value``.

    Args:
        value: a number of bytes, or a text such as "1GiB" (1024³) or "1GB" (1000³).

    Raises:
        ValueError: the value is neither, or is negative.
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError  # slow, and only settings contain sizes

    # ByteSize ignores what follows a size ("1,5GiB" is 1 byte) and accepts bits, floats and booleans.
    if not (_SIZE.fullmatch(value) if isinstance(value, str) else type(value) is int):
        raise ValueError(SIZE_FORM)
    try:
        return int(TypeAdapter(ByteSize).validate_python(value))
    except ValidationError:
        raise ValueError(SIZE_FORM) from None


def format_duration(seconds: float) -> str:
    """Return ``seconds`` in the largest unit that divides it: "90s", "5m", "6h" or "2d"."""
    if seconds == 0:
        return "0s"
    for unit in ("d", "h", "m"):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:g}{unit}"
    return f"{seconds:g}s"


def format_size(size_bytes: int) -> str:
    """Return ``size_bytes`` in the largest unit that divides it, such as "1GiB", else as a plain number."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size_bytes and size_bytes % 1024**power == 0:
            return f"{size_bytes // 1024**power}{unit}"
    return str(size_bytes)
