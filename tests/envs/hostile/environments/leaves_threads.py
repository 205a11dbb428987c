"""Leaves threads that never end."""

from __future__ import annotations

import threading
import time

from calm import Calm


class Hostile(Calm):
    def __init__(self) -> None:
        threading.Thread(target=time.sleep, args=(1000,)).start()
