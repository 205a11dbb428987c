"""Logs of libraries that write a line for each failed connection are limited."""

from __future__ import annotations

import logging

from agent.config.settings import Settings
from agent.logs import MAX_MESSAGES, REPETITIVE, OncePerPeriod, configure_logs


def _record(message: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord("asyncio", logging.ERROR, "file", 1, message, values, None)


def test_a_message_passes_once_a_period_and_then_counts_those_held_back() -> None:
    now = [0.0]
    rare = OncePerPeriod(60.0, monotonic=lambda: now[0])
    assert [rare.filter(_record("accept failed: %s", number)) for number in range(1000)] == [True] + [False] * 999
    assert rare.filter(_record("another"))
    now[0] = 61.0
    record = _record("accept failed: %s", "EMFILE")
    assert rare.filter(record)
    assert record.getMessage() == "accept failed: EMFILE (999 similar messages were suppressed)"


def test_a_filter_remembers_a_bounded_number_of_messages() -> None:
    rare = OncePerPeriod(60.0, monotonic=lambda: 0.0)
    for number in range(10 * MAX_MESSAGES):
        rare.filter(_record(f"{number} failed"))
    assert len(rare._passed_at) <= MAX_MESSAGES


def test_configuring_logs_twice_leaves_one_filter_on_each_logger() -> None:
    before = {name: logging.getLogger(name).filters for name in REPETITIVE}
    root_handlers = logging.getLogger().handlers
    try:
        for _ in range(2):
            configure_logs(Settings(), process="control")
        assert [len(logging.getLogger(name).filters) for name in REPETITIVE] == [1] * len(REPETITIVE)
    finally:
        logging.getLogger().handlers = root_handlers
        for name, filters in before.items():
            logging.getLogger(name).filters = filters
