"""The console that commands print on. Strings are printed literally: neither markup nor terminal codes take effect.

Commands put styles into :class:`rich.text.Text` (``agent.cli.output.styled``), not into strings. A string from an
environment therefore cannot change the style.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from agent.output.visible_text import visible

PIPED_WIDTH = 120


class PlainConsole(Console):
    """A console without markup, emoji codes and highlighting, which prints visible characters only.

    Strings are escaped before layout, so that tables get the width of the escaped text. Every segment of the result is
    escaped again, so that a :class:`Text` cannot send a control character to the terminal either.

    Args:
        is_stderr: write to stderr instead of stdout.
    """

    def __init__(self, *, is_stderr: bool = False) -> None:
        is_piped = not is_stderr and not sys.stdout.isatty() and "COLUMNS" not in os.environ
        width = PIPED_WIDTH if is_piped else None
        super().__init__(stderr=is_stderr, width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as visible text. Options cannot enable markup."""
        return super().render_str(visible(text), **{**options, "markup": False, "emoji": False, "highlight": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable, with control characters escaped."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)

    @property
    def is_unicode(self) -> bool:
        """Return whether the stream's encoding can represent every character."""
        return self.encoding.startswith("utf")
