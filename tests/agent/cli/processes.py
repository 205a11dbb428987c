"""Calls of the command line's entry point in the test's process, on streams of a chosen encoding."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass

import pytest

from agent.cli import entry


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The result of a command.

    Attributes:
        code: exit status.
        stdout: bytes written to stdout.
        stderr: bytes written to stderr.
    """

    code: int
    stdout: bytes
    stderr: bytes


def enter(*arguments: str, encoding: str) -> Ended:
    """Call the entry point of ``learnd`` with stdout and stderr in the given encoding."""
    written = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(stream, encoding=encoding, errors="strict") for stream in written)
    own = {"stdout": out, "__stdout__": out, "stderr": err, "__stderr__": err}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["learnd", *arguments])
        patched.setattr(sys, "excepthook", sys.excepthook)
        for name, stream in own.items():
            patched.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as ended:
            entry.main()
        sys.stderr.flush()
        code = ended.value.code or 0
        assert isinstance(code, int)
        # Read the bytes inside the block: the streams that the entry point installed close them when they are deleted.
        return Ended(code=code, stdout=written[0].getvalue(), stderr=written[1].getvalue())
