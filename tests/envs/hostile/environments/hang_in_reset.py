"""Hangs in a reset."""

from __future__ import annotations

import time
from typing import Any

from calm import Calm


class Hostile(Calm):
    def reset(self, **named: Any) -> Any:
        time.sleep(1000)
