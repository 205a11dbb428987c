"""Tests of the last words of a worker: the line that says why it died, and no traceback."""

from __future__ import annotations

from envs.gymnasium.last_words import MAX_CHARS, last_words

CRASH = """printed before
Fatal Python error: Segmentation fault

Current thread 0x00007f (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/home/me/maze.py", line 41 in step
  File "/opt/learnd/envs/gymnasium/host/tasks.py", line 200 in _step_rows

Extension modules: numpy (total: 1)
"""


def test_the_last_line_of_a_traceback_is_kept() -> None:
    stderr = "Traceback (most recent call last):\n  File \"x.py\", line 1\nModuleNotFoundError: No module named 'a'\n\n"
    assert last_words(stderr) == "ModuleNotFoundError: No module named 'a'"


def test_a_crash_is_told_with_the_line_of_the_user_s_code() -> None:
    assert last_words(CRASH) == "Segmentation fault at /home/me/maze.py, line 41, in step"


def test_a_crash_outside_of_a_user_s_code_is_told_without_a_line() -> None:
    assert last_words(CRASH.replace("/home/me/maze.py", "/site-packages/gymnasium/core.py")) == "Segmentation fault"


def test_warnings_are_no_last_words() -> None:
    warned = "/lib/box.py:297: UserWarning: low is cast\n  gym.logger.warn(\nx.py:3: DeprecationWarning: old\n"
    assert last_words(warned) == ""
    assert last_words(f"the wheel came off\n{warned}") == "the wheel came off"


def test_a_long_line_is_shortened_and_silence_is_empty() -> None:
    assert len(last_words("x" * 1000)) == MAX_CHARS
    assert last_words(" \n") == ""
