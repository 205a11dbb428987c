"""Tests of the reason why an interpreter of a user cannot run a worker."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from envs.errors import FamilySpecError, WorkerFaultError
from envs.gymnasium.interpreter_fault import interpreter_fault
from tests.envs.families import opened, sound


def interpreter(folder: Path, body: str) -> str:
    """Return the path of a program that stands for an interpreter."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return str(program)


def test_a_version_of_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    python = interpreter(tmp_path, 'test "$1" = -c && echo 3 8 || { echo "SyntaxError: invalid syntax" >&2; exit 1; }')
    with pytest.raises(WorkerFaultError, match=f"it did not start: {python} is Python 3.8, and a worker needs 3.10"):
        opened(sound("Counter", python=python))


def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    words = "it exited with status 1. Its last words: ModuleNotFoundError: No module named 'gymnasium'"
    assert interpreter_fault("/venv/bin/python", words) == (
        "No module named 'gymnasium' among the packages of /venv/bin/python. Install it there: /venv/bin/python -m pip "
        "install gymnasium."
    )


def test_an_end_for_another_reason_is_kept_as_it_is(tmp_path: Path) -> None:
    assert interpreter_fault(sys.executable, "it was killed by SIGKILL.") == "it was killed by SIGKILL."
    silent = interpreter(tmp_path, "exit 0")
    assert interpreter_fault(silent, "it exited with status 0.").endswith(f"Is {silent} a Python interpreter?")


def aged_interpreter(folder: Path) -> str:
    """Return this interpreter, with a Gymnasium that says that it is old."""
    (folder / "sitecustomize.py").write_text("import gymnasium\ngymnasium.__version__ = '0.29.1'\n")
    return interpreter(folder, f'PYTHONPATH="{folder}" exec {sys.executable} "$@"')


def test_a_gymnasium_that_is_too_old_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FamilySpecError, match=r"has gymnasium 0\.29\.1, and a worker needs 1\.0 or newer"):
        opened(sound("Counter", python=aged_interpreter(tmp_path)))
