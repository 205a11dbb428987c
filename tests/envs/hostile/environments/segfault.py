"""Reads memory that it does not have."""

from __future__ import annotations

import ctypes

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        ctypes.string_at(0)
