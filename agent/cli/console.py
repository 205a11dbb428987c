"""The console that commands print on: a string is shown as it is, never as markup and never as terminal codes.

Style goes into :class:`rich.text.Text` (``agent.cli.output.line``), not into strings, so a string from an environment
cannot be taken for style.
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
    """A console without markup, emoji codes and highlighting, whose text is visible text.

    Strings are escaped before they are laid out, so that tables are as wide as what they show. What is escaped a second
    time is every segment of the result: also a :class:`Text` cannot carry a control character to the terminal.

    Args:
        is_stderr: whether it writes to stderr; else it writes to stdout.
    """

    def __init__(self, *, is_stderr: bool = False) -> None:
        is_piped = not is_stderr and not sys.stdout.isatty() and "COLUMNS" not in os.environ
        width = PIPED_WIDTH if is_piped else None
        super().__init__(stderr=is_stderr, width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as visible text; no option turns markup on."""
        return super().render_str(visible(text), **{**options, "markup": False, "emoji": False, "highlight": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable, with text that is visible."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)

    @property
    def is_unicode(self) -> bool:
        """Whether the stream's encoding has every character."""
        return self.encoding.startswith("utf")
