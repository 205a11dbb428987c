"""The command line within the test's process, as it is entered by a user, on streams of a chosen encoding."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass

import pytest

from agent.cli import entry


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit status.
        stdout: what it wrote, as bytes.
        stderr: the same.
    """

    code: int
    stdout: bytes
    stderr: bytes


def enter(monkeypatch: pytest.MonkeyPatch, *arguments: str, encoding: str) -> Ended:
    """Call the entry of ``learnd`` with stdout and stderr that take only what an encoding has."""
    written = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "argv", ["learnd", *arguments])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written[0], encoding=encoding, errors="strict"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written[1], encoding=encoding, errors="strict"))
    strict = sys.stdout, sys.stderr  # kept, or their end would close the bytes
    with pytest.raises(SystemExit) as ended:
        entry.main()
    sys.stderr.flush()
    code = ended.value.code or 0
    assert isinstance(code, int)
    result = Ended(code=code, stdout=written[0].getvalue(), stderr=written[1].getvalue())
    monkeypatch.undo()
    del strict
    return result
