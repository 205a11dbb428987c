"""Structured logs on stderr: one line per event, JSON for machines or columns for a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog

from agent.settings import Settings

LogFormat = Literal["auto", "console", "json"]


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
        colors=sys.stderr.isatty(), pad_event_to=32, exception_formatter=structlog.dev.plain_traceback
    )
    final: list[Any] = (
        [renderer] if is_console else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
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


def _process_namer(process: str) -> structlog.types.Processor:
    def name_process(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event.setdefault("process", process)
        return event

    return name_process
