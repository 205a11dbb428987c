"""Deletes the folder in which it runs, with its own code."""

from __future__ import annotations

import os
import shutil

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        shutil.rmtree(os.getcwd(), ignore_errors=True)  # noqa: PTH109
