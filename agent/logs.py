"""Structured logs on stderr: one line per event, JSON for machines or columns for a terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Literal, TextIO

import structlog

from agent.config.settings import Settings
from agent.output.visible_text import visible, visible_line

REPETITIVE = ("asyncio", "uvicorn.error")
"""Loggers of libraries that write a line for each connection or request at fault, however many there are."""

MAX_MESSAGES = 100
MAX_KEY_CHARS = 40
"""A message is told by its beginning: some libraries fill its values in before they log it."""

LogFormat = Literal["auto", "console", "json"]


class OncePerPeriod(logging.Filter):
    """Passes each message of a logger once a period, told by its text before its values are filled in.

    Args:
        period_s: between two lines of one message.
        monotonic: the clock, in seconds.
    """

    def __init__(self, period_s: float = 60.0, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._period_s = period_s
        self._monotonic = monotonic
        self._passed_at: dict[str, float] = {}
        self._num_held: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be written; its message then counts those held back since the last."""
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
            record.msg, record.args = f"{record.getMessage()} (and {num_held} more like it)", ()
        return True


def resolved_format(log_format: LogFormat) -> Literal["console", "json"]:
    """``log_format`` with "auto" decided: console where stderr is a terminal, JSON elsewhere."""
    if log_format == "auto":
        return "console" if sys.stderr.isatty() else "json"
    return log_format


def configure_logs(settings: Settings, *, process: str) -> None:
    """Send every log line of this process to stderr in one form, those of libraries included.

    Args:
        settings: its ``service`` section says the form and the least level; libraries are held to warnings
            unless that is "debug".
        process: named in each line: "control" or "learner".
    """
    level = logging.getLevelNamesMapping()[settings.service.log_level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _process_namer(process),
    ]
    is_console = resolved_format(settings.service.log_format) == "console"
    renderer: Any = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), pad_event_to=32, exception_formatter=_write_traceback
    )
    final: list[Any] = (
        [_visible_event, renderer]
        if is_console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))
    for package in ("agent", "envs", "memory"):
        logging.getLogger(package).setLevel(level)
    for library in REPETITIVE:
        logging.getLogger(library).filters = [OncePerPeriod()]
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


def forward_line(line: bytes) -> None:
    """Write a line that another process printed to stderr, as visible text; a stderr that is full or gone loses it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(visible(line.decode(errors="replace")))
        sys.stderr.flush()


class _Quoted:
    """A string value of an event that holds characters not to be printed: the renderer writes its ``repr``."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return repr(self._text)


def _visible_event(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Make an event one line of visible text; the console's renderer writes strings without blanks as they are."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = visible_line(value) if key == "event" else _Quoted(value)
    return event


def _write_traceback(stream: TextIO, exc_info: Any) -> None:
    """Write a traceback indented, so that no line of an environment's message looks like a line of the log."""
    text = visible("".join(traceback.format_exception(*exc_info))).rstrip("\n")
    stream.write("    " + text.replace("\n", "\n    "))


def _process_namer(process: str) -> structlog.types.Processor:
    def name_process(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event.setdefault("process", process)
        return event

    return name_process
