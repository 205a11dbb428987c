"""The reason why a family's own interpreter cannot run a worker: it is no Python, or too old, or lacks a package."""

from __future__ import annotations

import subprocess

OLDEST_PYTHON = (3, 10)
"""The oldest version of Python that runs the worker's host program."""

LIMIT_S = 20.0

_NEEDED = ("gymnasium", "numpy")
_ASK = "import sys; print('%d %d' % sys.version_info[:2])"


def interpreter_fault(python: str, found: str) -> str:
    """Return why a worker ended before it answered; ``found`` itself if the interpreter is not the reason.

    Args:
        python: the family's interpreter.
        found: what is known of the end of its worker, with the last line that it wrote.
    """
    for package in _NEEDED:
        if f"No module named '{package}'" in found:
            install = f"{python} -m pip install {package}"
            return f"No module named '{package}' among the packages of {python}. Install it there: {install}."
    version = _version_of(python)
    if version is None:
        return f"{found} Is {python} a Python interpreter?"
    if version < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        return f"{python} is Python {'.'.join(map(str, version))}, and a worker needs {needed} or newer."
    return found


def _version_of(python: str) -> tuple[int, ...] | None:
    """Return the version of an interpreter; None if it does not answer as one."""
    try:
        asked = subprocess.run(
            [python, "-c", _ASK], stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=False
        )
        return tuple(map(int, asked.stdout.split())) or None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
