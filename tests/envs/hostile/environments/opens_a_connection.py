"""Connects to a server on this machine."""

from __future__ import annotations

import os
import socket

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        socket.create_connection(("127.0.0.1", int(os.environ["HOSTILE_PORT"])), timeout=5)
