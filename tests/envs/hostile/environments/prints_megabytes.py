"""Prints more than any pipe holds."""

from __future__ import annotations

import os
import sys
from typing import Any

from calm import Calm


class Hostile(Calm):
    def step(self, action: Any) -> Any:
        sys.stdout.write("out" * 200_000)
        sys.stderr.write("err" * 200_000)
        os.write(2, b"raw" * 50_000)
        return super().step(action)
