"""Writes a file to /dev/shm, of which nobody keeps track."""

from __future__ import annotations

import os
from pathlib import Path

from calm import TOKEN, Calm


class Hostile(Calm):
    def __init__(self) -> None:
        Path(f"/dev/shm/hostile_{TOKEN}_{os.getpid()}").write_bytes(bytes(4096))
