"""Forks processes that fork again, 24 in all, and never waits for them."""

from __future__ import annotations

import os
import time

from calm import Calm


class Hostile(Calm):
    has_forked = False

    def misbehave(self) -> None:
        if self.has_forked or os.environ.get("HAS_FORKED"):
            return
        self.has_forked = True
        os.environ["HAS_FORKED"] = "1"
        for _ in range(4):
            if os.fork() == 0:
                for _ in range(5):
                    if os.fork() == 0:
                        break
                while True:
                    time.sleep(1000)
