"""Notifications to systemd: READY, STATUS, WATCHDOG (only while there is progress) and STOPPING."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sdnotify

from agent.output.visible_text import visible_line


class Notifier:
    """A sender of sd_notify messages; it does nothing if no service manager listens."""

    def __init__(self) -> None:
        self._systemd = sdnotify.SystemdNotifier() if os.environ.get("NOTIFY_SOCKET") else None
        self._status = ""

    @property
    def watchdog_period_s(self) -> float | None:
        """Seconds between two watchdog notifications: a third of the manager's timeout; None without a watchdog."""
        asked_us = os.environ.get("WATCHDOG_USEC", "")
        is_ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return int(asked_us) / 1e6 / 3 if asked_us.isdigit() and int(asked_us) and is_ours else None

    def ready(self) -> None:
        """Report that the service answers requests."""
        self._send("READY=1")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Report that the service reloads its settings, and at the end that it is ready again."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self.ready()

    def alive(self) -> None:
        """Report progress to the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Report that the service begins to stop."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Report the current activity in one line; an unchanged text is not sent again."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + visible_line(text))

    def close(self) -> None:
        """Close the socket."""
        if self._systemd is not None and self._systemd.socket is not None:
            self._systemd.socket.close()
        self._systemd = None

    def _send(self, message: str) -> None:
        if self._systemd is not None:
            self._systemd.notify(message.encode("ascii", "replace").decode())
