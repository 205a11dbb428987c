"""Stops its own process, which then answers nothing."""

from __future__ import annotations

import os
import signal

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
