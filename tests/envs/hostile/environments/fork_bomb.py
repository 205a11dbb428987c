"""Forks processes that fork again, as many as it can up to 512, and takes no notice of refusals."""

from __future__ import annotations

import os
import time

from calm import Calm

GENERATIONS = 9


class Hostile(Calm):
    def misbehave(self) -> None:
        begun_by, is_child = os.getpid(), False
        for _ in range(GENERATIONS):
            try:
                is_child |= os.fork() == 0
            except OSError:
                break
        if is_child:
            time.sleep(1000)
            os._exit(0)
        while os.getpid() == begun_by:
            time.sleep(1)
