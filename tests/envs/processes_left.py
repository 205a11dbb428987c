"""The processes whose last argument is a token: what an environment started and nobody ended."""

from __future__ import annotations

import secrets
import time

import psutil


def new_token() -> str:
    """Return a length of sleep that no other process has, as text."""
    return f"600.{secrets.randbelow(10**12):012d}1"


def processes_with(token: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cmdline()[-1:] == [token]:
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def await_none_with(token: str, *, timeout_s: float = 30.0) -> list[int]:
    """Wait until no process holds the token, and return those that still do."""
    deadline = time.monotonic() + timeout_s
    while (left := processes_with(token)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def await_some_with(token: str, *, timeout_s: float = 30.0) -> None:
    """Wait until a process holds the token."""
    deadline = time.monotonic() + timeout_s
    while not processes_with(token):
        assert time.monotonic() < deadline, f"no process with {token} was started"
        time.sleep(0.02)
