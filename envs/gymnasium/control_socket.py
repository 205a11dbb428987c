"""The trainer's end of the control socket of a worker's supervisor (:mod:`envs.gymnasium.supervisor`)."""

from __future__ import annotations

import contextlib
import socket

REPORT_S = 2.0
"""How long to wait for the supervisor's report of the exit status, after the worker's pipes are closed."""

SUPERVISOR_KILLED = b""
"""The status line if the supervisor was killed."""


class ControlSocket:
    """A control socket, whose other end belongs to the supervisor; the supervisor may have exited at any time."""

    def __init__(self) -> None:
        self._socket, self.supervisor_end = socket.socketpair()
        self._status_start = b""

    def fileno(self) -> int:
        """Return the descriptor, for polling."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def interrupt(self) -> None:
        """Have the supervisor interrupt the worker, as by Ctrl-C."""
        self._send(b"i")

    def end(self) -> None:
        """Have the supervisor end the worker and all its descendants."""
        self._send(b"k")

    def note_memory(self) -> None:
        """Have the supervisor note the worker's named shared memory; do not wait."""
        self._send(b"n")

    def confirm_memory(self) -> None:
        """Have the supervisor note the worker's named shared memory, and wait until it has: later it may have ended."""
        self._socket.settimeout(REPORT_S)
        with contextlib.suppress(OSError):
            self._socket.send(b"c")
            answer = self._socket.recv(1)
            self._status_start += b"" if answer == b"c" else answer  # a worker that has ended reports its exit status
        with contextlib.suppress(OSError):
            self._socket.settimeout(None)

    def status_line(self) -> bytes | None:
        """Return the worker's exit status as a line; None if it has not exited in time.

        It is ``SUPERVISOR_KILLED`` if the supervisor cannot report any more.
        """
        self._socket.settimeout(REPORT_S)
        try:
            return self._status_start + self._socket.recv(64)
        except TimeoutError:
            return None
        except OSError:
            return SUPERVISOR_KILLED
        finally:
            self._socket.settimeout(None)

    def _send(self, command: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.send(command)
