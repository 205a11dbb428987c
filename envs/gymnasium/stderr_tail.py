"""The last of what a process writes to its stderr."""

from __future__ import annotations

import os
import select
import threading

MAX_STDERR = 16_000


class StderrTail:
    """Reads what a worker prints to stderr, so that it never blocks, and keeps the last of it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._tail = b""
        self._is_closing = False
        self._thread = threading.Thread(target=self._read, name="worker-stderr", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """The last of what was printed."""
        return self._tail.decode(errors="replace").strip()

    def close(self) -> None:
        """Wait for the rest, which ends with the worker, and stop reading."""
        self._thread.join(timeout=0.3)
        self._is_closing = True
        self._thread.join()
        os.close(self._fd)

    def _read(self) -> None:
        ready = select.poll()
        ready.register(self._fd, select.POLLIN)
        while not self._is_closing:
            if ready.poll(250):
                printed = os.read(self._fd, 1 << 16)
                if not printed:
                    return
                self._tail = (self._tail + printed)[-MAX_STDERR:]
