"""Hangs in a step and ignores every signal that it can."""

from __future__ import annotations

import signal
import time

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        while True:
            time.sleep(1000)
