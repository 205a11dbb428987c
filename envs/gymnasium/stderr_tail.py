"""Reading the end of a process's stderr."""

from __future__ import annotations

import os
import select
import threading

MAX_STDERR = 16_000


class StderrTail:
    """A thread that reads a worker's stderr, so that the worker never blocks, and stores its last ``MAX_STDERR`` bytes.

    Args:
        fd: the reading end of the pipe; it is closed by :meth:`close`.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._tail = b""
        self._is_closing = False
        self._thread = threading.Thread(target=self._read, name="worker-stderr", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """Return the last ``MAX_STDERR`` bytes of stderr as text."""
        return self._tail.decode(errors="replace").strip()

    def close(self) -> None:
        """Read the rest, which ends when the worker has exited, and stop reading."""
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
