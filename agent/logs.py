"""Structured logs on stderr: one line per event, as JSON or in columns for a terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog

from agent.config.settings import Settings
from agent.journal import is_journal, level_of_line, prefix_of, with_prefix
from agent.output.visible_text import visible, visible_line

REPETITIVE = ("asyncio", "uvicorn.error")
"""Loggers of libraries that write a line for each failed connection or request, without a limit."""

MAX_MESSAGES = 100
MAX_KEY_CHARS = 40
"""Messages with an equal beginning of this length count as equal, because some libraries log messages with values."""

LogFormat = Literal["auto", "console", "json"]


class OncePerPeriod(logging.Filter):
    """A filter that passes each message of a logger once a period. It compares messages without their values.

    Args:
        period_s: seconds between two lines with the same message.
        monotonic: the clock, in seconds.
    """

    def __init__(self, period_s: float = 60.0, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._period_s = period_s
        self._monotonic = monotonic
        self._passed_at: dict[str, float] = {}
        self._num_held: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the record; add the number of suppressed records to its message."""
        kind = record.exc_info[0] if record.exc_info else None
        text = f"{str(record.msg)[:MAX_KEY_CHARS]} {kind}"
        now = self._monotonic()
        passed_at = self._passed_at.get(text)
        if passed_at is not None and now - passed_at < self._period_s:
            self._num_held[text] = self._num_held.get(text, 0) + 1
            return False
        if len(self._passed_at) >= MAX_MESSAGES:
            self._passed_at.clear()
            self._num_held.clear()
        self._passed_at[text] = now
        if num_held := self._num_held.pop(text, 0):
            record.msg, record.args = f"{record.getMessage()} ({num_held} similar messages were suppressed)", ()
        return True


def resolved_format(log_format: LogFormat) -> Literal["console", "json"]:
    """Return ``log_format`` with "auto" resolved: console if stderr is a terminal, else JSON."""
    if log_format == "auto":
        return "console" if sys.stderr.isatty() else "json"
    return log_format


def configure_logs(settings: Settings, *, process: str) -> None:
    """Send every log line of this process, including those of libraries, to stderr in one format.

    Args:
        settings: the section ``service`` has the format and the lowest level. Libraries log from level warning on,
            unless the level is "debug".
        process: value of the key ``process`` in each line: "control" (the daemon) or "learner" (the trainer).
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _process_namer(process),
    ]
    final = _final_processors(is_console=resolved_format(settings.service.log_format) == "console")
    formatter_class = _JournalFormatter if is_journal(sys.stderr) else structlog.stdlib.ProcessorFormatter
    formatter = formatter_class(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.getLogger().handlers = [handler]
    set_level(settings.service.log_level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _final_processors(*, is_console: bool) -> list[Any]:
    """Return the processors that turn an event into a line."""
    if not is_console:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    renderer: Any = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), pad_event_to=32, exception_formatter=_write_traceback
    )
    return [_visible_event, renderer]


def set_level(name: str) -> None:
    """Set the lowest level of learnd's own packages ("debug", "info", ...), and a higher one of libraries."""
    level = logging.getLevelNamesMapping()[name.upper()]
    logging.getLogger().setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))
    for package in ("agent", "envs", "memory"):
        logging.getLogger(package).setLevel(level)
    for library in REPETITIVE:
        logging.getLogger(library).filters = [OncePerPeriod()]


def forward_line(line: bytes) -> None:
    """Write a line of another process's output to stderr as visible text; ignore a failed write.

    In the journal the line gets a priority of its own, so plain output cannot claim one.
    """
    text = visible(line.decode(errors="replace"))
    with contextlib.suppress(OSError):
        sys.stderr.write(prefix_of(level_of_line(text)) + text if is_journal(sys.stderr) else text)
        sys.stderr.flush()


def log_uncaught() -> None:
    """Log warnings, and errors that end the process or a thread, as events of one line."""
    logging.captureWarnings(True)  # noqa: FBT003 -- the library's signature
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda thread: _log_uncaught(
        thread.exc_type, thread.exc_value or thread.exc_type(), thread.exc_traceback
    )


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        sys.__excepthook__(kind, error, trace)
        return
    text = str(error)
    summary = f"{kind.__name__}: {text}" if text else kind.__name__
    structlog.get_logger(__name__).critical("uncaught error", error=summary, exc_info=(kind, error, trace))


class _JournalFormatter(structlog.stdlib.ProcessorFormatter):
    """A formatter that begins each line with its priority."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return with_prefix(super().format(record), record.levelname.lower())


class _Quoted:
    """A string value of an event with unprintable characters, which the renderer writes as its ``repr``."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return repr(self._text)


def _visible_event(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Make an event one line of visible text; the console renderer does not escape strings without blanks."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = visible_line(value) if key == "event" else _Quoted(value)
    return event


def _write_traceback(stream: TextIO, exc_info: Any) -> None:
    """Write a traceback with indentation, so that no line of an environment's message looks like a log line."""
    text = visible("".join(traceback.format_exception(*exc_info))).rstrip("\n")
    stream.write("    " + text.replace("\n", "\n    "))


def _process_namer(process: str) -> structlog.types.Processor:
    def name_process(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event.setdefault("process", process)
        return event

    return name_process
