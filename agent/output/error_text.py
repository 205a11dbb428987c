"""Messages of errors as one line for users. Tracebacks belong into the log."""

from __future__ import annotations

import re

MAX_CHARS = 600

_TRACEBACK = "Traceback (most recent call last):"
_NATIVE_FRAMES = re.compile(r"\s*(?:Exception raised from .*|C\+\+ CapturedTraceback:.*|frame #0: .*)", re.DOTALL)


def short_error(text: str, *, max_chars: int = MAX_CHARS) -> str:
    r"""Return a message as one line without tracebacks; the error that ended a traceback is kept.

    A traceback may be that of another process in the text of an error, also with line feeds that are written as
    ``\n``, or the native frames that torch appends.
    """
    lines = text.replace("\\n", "\n") if _TRACEBACK in text else text
    before, separator, after = lines.partition(_TRACEBACK)
    if separator:
        ended = next((line for line in reversed(after.splitlines()) if line.strip(" '\")]}")), "")
        before = f"{before} {ended.strip().rstrip(chr(39) + chr(34))}"
    return " ".join(_NATIVE_FRAMES.sub("", before).split())[:max_chars]
