"""The standard streams of a process: they take every text, whatever their encoding and whether they are open or not.

* Characters that an encoding lacks are replaced.
* A standard stream that is closed is opened on /dev/null, so that no file of the service gets its number. Writing to a
  closed stdout still fails, because an answer would be lost; writing to a closed stderr does nothing.
* What stdout cannot take gives exit status 1 and one line on stderr, not a traceback. What stderr cannot take is lost.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from types import TracebackType

ExitCode = int | str | None


class AnswerStream(io.TextIOWrapper):
    """A stdout that remembers why it could not take something.

    Attributes:
        fault: the last error of a write; None while all was written.
    """

    fault: OSError | None = None

    def write(self, text: str) -> int:
        """Write text; characters that the encoding lacks are replaced."""
        try:
            return super().write(text)
        except OSError as error:
            self.fault = error
            raise

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            super().flush()
        except OSError as error:
            self.fault = error
            raise


class NoteStream(io.TextIOWrapper):
    """A stderr that loses what it cannot write: a note or a log line is no reason to end."""

    def write(self, text: str) -> int:
        """Write text, if that is possible."""
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, if that is possible."""
        with contextlib.suppress(OSError):
            super().flush()


def prepare_streams() -> None:
    """Open the standard streams that are closed, and let all take every text; show tracebacks as visible text.

    Streams that a program has put in the place of the process's own stay as they are.
    """
    _prepare_stdin()
    _prepare_stdout()
    _prepare_stderr()
    sys.excepthook = show_exception


def stdout_fault() -> OSError | None:
    """Return the error of the last write to stdout that failed; None while all was written."""
    fault: OSError | None = getattr(sys.stdout, "fault", None)
    return fault


def finish_streams(code: ExitCode) -> ExitCode:
    """Flush stdout and return the exit status: 1 instead of 0 where stdout could not take all."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    fault = stdout_fault()
    if fault is None:
        return code
    _drop_the_rest()
    if fault.errno != errno.EPIPE:  # a reader that has gone away wants no more of it
        sys.stderr.write(f"error: writing to stdout: {fault.strerror}.\n")
    return code or 1


def show_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write a traceback to stderr as visible text: its message may come from an environment."""
    import traceback

    from agent.output.visible_text import visible

    sys.stderr.write(visible("".join(traceback.format_exception(kind, error, trace))))


def _prepare_stdin() -> None:
    if sys.stdin is None:  # what Python found closed at its start
        _open_null(0, os.O_RDONLY)
        sys.stdin = os.fdopen(0, closefd=False, encoding="utf-8")


def _prepare_stdout() -> None:
    if sys.stdout is None:
        _open_null(1, os.O_RDONLY)
        sys.stdout = AnswerStream(os.fdopen(1, "wb", closefd=False), encoding="utf-8", errors="replace")
    elif isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout is sys.__stdout__:
        sys.stdout = AnswerStream(
            sys.stdout.buffer,
            encoding=sys.stdout.encoding,
            errors="replace",
            line_buffering=sys.stdout.line_buffering,
            write_through=sys.stdout.write_through,
        )


def _prepare_stderr() -> None:
    if sys.stderr is None:
        _open_null(2, os.O_WRONLY)
        buffer, encoding = os.fdopen(2, "wb", closefd=False), "utf-8"
    elif isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr is sys.__stderr__:
        buffer, encoding = sys.stderr.buffer, sys.stderr.encoding
    else:
        return
    sys.stderr = NoteStream(buffer, encoding=encoding, errors="backslashreplace", line_buffering=True)


def _open_null(number: int, flags: int) -> None:
    """Open /dev/null as descriptor ``number``, unless something has that number by now."""
    try:
        os.fstat(number)
    except OSError:
        _redirect_to_null(number, flags)


def _redirect_to_null(number: int, flags: int) -> None:
    descriptor = os.open(os.devnull, flags)
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)


def _drop_the_rest() -> None:
    """Let the interpreter flush at its end what stdout did not take, to nowhere."""
    _redirect_to_null(1, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
