"""The standard streams of a process. They accept every text, whatever their encoding, even if they are closed.

* Characters that an encoding lacks are replaced.
* A standard stream that is closed is opened on /dev/null, so that no file of the service gets its number. Writing to a
  closed stdout still fails, because the output would be lost. Writing to a closed stderr does nothing.
* A failed write to stdout gives exit status 1 and one line on stderr, not a traceback. A failed write to stderr is
  ignored.
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
    """A stdout that keeps the error of a failed write.

    Attributes:
        fault: the last error of a write; None if no write has failed.
    """

    fault: OSError | None = None

    def write(self, text: str) -> int:
        """Write text; replace characters that the encoding lacks."""
        try:
            return super().write(text)
        except OSError as error:
            self.fault = error
            raise

    def flush(self) -> None:
        """Write the buffered text."""
        try:
            super().flush()
        except OSError as error:
            self.fault = error
            raise


class NoteStream(io.TextIOWrapper):
    """A stderr that ignores failed writes: a lost note or log line must not end the process."""

    def write(self, text: str) -> int:
        """Write text, if possible."""
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write the buffered text, if possible."""
        with contextlib.suppress(OSError):
            super().flush()


def prepare_streams() -> None:
    """Open closed standard streams, make all of them accept every text, and show tracebacks as visible text.

    Streams that a program has replaced are not changed.
    """
    _prepare_stdin()
    _prepare_stdout()
    _prepare_stderr()
    sys.excepthook = show_exception


def stdout_fault() -> OSError | None:
    """Return the error of the last failed write to stdout; None if no write has failed."""
    fault: OSError | None = getattr(sys.stdout, "fault", None)
    return fault


def finish_streams(code: ExitCode) -> ExitCode:
    """Flush stdout and return the exit status: 1 instead of 0 if a write to stdout has failed."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    fault = stdout_fault()
    if fault is None:
        return code
    _drop_the_rest()
    if fault.errno != errno.EPIPE:  # EPIPE: the reader has closed the pipe on purpose
        sys.stderr.write(f"error: writing to stdout: {fault.strerror}.\n")
    return code or 1


def show_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write a traceback to stderr as visible text, because its message may come from an environment."""
    import traceback

    from agent.output.visible_text import visible

    sys.stderr.write(visible("".join(traceback.format_exception(kind, error, trace))))


def _prepare_stdin() -> None:
    if sys.stdin is None:  # Python sets it to None if it is closed at the start
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
    """Open /dev/null as descriptor ``number``, unless that number is now in use."""
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
    """Send the rest of stdout's buffer to /dev/null, so that the interpreter's flush at exit does not fail."""
    _redirect_to_null(1, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
