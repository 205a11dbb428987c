"""Starts processes in sessions and with variables of their own, and leaves them."""

from __future__ import annotations

import subprocess

from calm import TOKEN, Calm


class Hostile(Calm):
    def __init__(self) -> None:
        subprocess.Popen(["/bin/sleep", TOKEN], env={"PATH": "/usr/bin:/bin"}, start_new_session=True)
        subprocess.Popen(["/bin/sh", "-c", f"/bin/sleep {TOKEN} & exit 0"]).wait()
