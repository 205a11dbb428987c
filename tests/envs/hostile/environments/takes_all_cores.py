"""Computes in four threads that never end."""

from __future__ import annotations

import hashlib
import threading

from calm import Calm


def compute() -> None:
    while True:
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 100_000)


class Hostile(Calm):
    def misbehave(self) -> None:
        if threading.active_count() < 4:
            for _ in range(4):
                threading.Thread(target=compute, daemon=True).start()
