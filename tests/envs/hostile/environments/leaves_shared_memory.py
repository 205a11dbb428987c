"""Makes named shared memory and never unlinks it."""

from __future__ import annotations

import os
from multiprocessing import shared_memory

from calm import TOKEN, Calm


class Hostile(Calm):
    number = 0

    def __init__(self) -> None:
        Hostile.number += 1
        name = f"hostile_{TOKEN}_{os.getpid()}_{self.number}"
        self.memory = shared_memory.SharedMemory(name=name, create=True, size=4096)
