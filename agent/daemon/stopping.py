"""The error of work that is abandoned because the daemon stops."""

from __future__ import annotations


class StoppingError(Exception):
    """An error: the daemon stops, and the current work is abandoned."""
