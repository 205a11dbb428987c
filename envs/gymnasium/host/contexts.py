"""Digests of what identifies a task, as the environment says."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from .spaces import NUMBER_KINDS

MAX_CONTEXT_BYTES = 256
"""Largest size of an ``info["context"]`` that identifies a task."""


def context_digest(info: Any) -> str | None:
    """Return the digest of the ``info["context"]`` of a reset, as hexadecimal digits; None if it identifies no task.

    A context is a text, a number, or an array, list or tuple of numbers, of at most ``MAX_CONTEXT_BYTES`` bytes and
    without NaN, which equals nothing. Equal numbers of different types have equal digests if both are integers or
    booleans, or if both are floats.
    """
    context = info.get("context") if isinstance(info, dict) else None
    content = None
    if isinstance(context, str):
        text = context.encode(errors="surrogatepass")
        content = b"text" + text if len(text) <= MAX_CONTEXT_BYTES else None
    elif isinstance(context, (bool, int, float, np.generic, np.ndarray)) or (
        isinstance(context, (list, tuple)) and len(context) <= MAX_CONTEXT_BYTES
    ):
        content = _numbers_of_context(context)
    return None if content is None else hashlib.blake2b(content, digest_size=16, person=b"context").hexdigest()


def _numbers_of_context(context: Any) -> bytes | None:
    """Return the numbers of a context as bytes; None if it holds something else or too much."""
    try:
        array = np.asarray(context)
        if array.dtype.kind not in NUMBER_KINDS or array.nbytes > MAX_CONTEXT_BYTES:
            return None
        if array.dtype.kind == "f" and np.isnan(array).any():
            return None
        wide = array.astype("<f8" if array.dtype.kind == "f" else "<i8")
    except (ValueError, TypeError, OverflowError):
        return None
    return wide.dtype.str.encode() + repr(array.shape).encode() + (wide + 0).tobytes()  # -0.0 becomes 0.0
