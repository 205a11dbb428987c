"""Writes files of 16 MiB into its folder for temporary files, 640 MiB in all."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        for count in range(40):
            Path(tempfile.gettempdir(), f"filling-{count}").write_bytes(b"x" * (16 << 20))
            time.sleep(0.05)
