"""Messages of errors as one line: tracebacks of other processes and native frames are left out."""

from __future__ import annotations

import pytest

from agent.output.error_text import MAX_CHARS, short_error

TRACEBACK = (
    'Traceback (most recent call last):\n  File "a.py", line 3, in step\n    x = 1 / 0\nZeroDivisionError: by zero\n'
)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("ValueError: no such key", "ValueError: no such key"),
        ("two\n  lines", "two lines"),
        (f"the simulator failed: {TRACEBACK}", "the simulator failed: ZeroDivisionError: by zero"),
        (f"RuntimeError({('it failed: ' + TRACEBACK)!r})", "RuntimeError('it failed: ZeroDivisionError: by zero"),
        (f"first: {TRACEBACK}\nDuring handling, another exception occurred:\n\n{TRACEBACK}second: gone\n",
         "first: second: gone"),
        ("out of memory\nException raised from malloc at x.cpp:3 (most recent call first):\nframe #0: a\nframe #1: b",
         "out of memory"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_error_remains_and_the_traceback_goes(text: str, short: str) -> None:
    assert short_error(text) == short


def test_a_long_message_is_cut() -> None:
    assert len(short_error("x" * 10_000)) == MAX_CHARS
    assert len(short_error("x" * 10_000, max_chars=10)) == 10
