"""Durations and sizes in the form that users write: "90s", "6h", "1GiB"."""

from __future__ import annotations

import math
import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_BYTES |= {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_DURATION_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")

DURATION_FORM = 'a duration such as "90s", "5m", "6h", "1h30m", "7d", or a number of seconds, 0 or more'
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
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if match is None or match[2].lower() not in _BYTES:
            raise ValueError(SIZE_FORM)
        return int(float(match[1]) * _BYTES[match[2].lower()])
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(SIZE_FORM)
    return value


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
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size_bytes and size_bytes % _BYTES[unit.lower()] == 0:
            return f"{size_bytes // _BYTES[unit.lower()]}{unit}"
    return str(size_bytes)
