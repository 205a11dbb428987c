"""Replaces functions of modules that the worker uses too; it keeps its own references to them."""

from __future__ import annotations

import json
import os

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        json.dumps = lambda *_, **__: "no"
        json.loads = lambda *_, **__: {"type": "check"}
        os.write = lambda *_: 0
