"""Writes into every descriptor, the worker's pipes among them."""

from __future__ import annotations

import contextlib
import os

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        for descriptor in range(3, 1024):
            with contextlib.suppress(OSError):
                os.write(descriptor, b"boo\n")
