"""Keys and seeds that follow from texts, on every machine and in every process alike."""

from __future__ import annotations

import hashlib


def key_of(text: str) -> int:
    """Return the key of a text, of 64 bits: the first 8 bytes of its SHA-256, the lowest first.

    The tasks of families are drawn from keys, so a text always has the same key.
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def seed_of(*parts: object) -> int:
    """Return the seed that follows from some values, of 63 bits: a signed number of 64 bits can hold it.

    Args:
        parts: the values, each with a text of its own.
    """
    return key_of("/".join(map(str, parts))) >> 1
