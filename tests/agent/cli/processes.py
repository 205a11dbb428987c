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


def enter(*arguments: str, encoding: str) -> Ended:
    """Call the entry of ``learnd`` with stdout and stderr that take only what an encoding has."""
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
        # Within the block: what the entry put in the streams' place closes the bytes when it goes.
        return Ended(code=code, stdout=written[0].getvalue(), stderr=written[1].getvalue())
