"""Replaces functions that the worker needs."""

from __future__ import annotations

import json
import os

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        json.dumps = lambda *_, **__: "no"
        json.loads = lambda *_, **__: {"type": "check"}
        os.write = lambda *_: 0
