r"""Text of foreign origin (environments, files, other processes) as text that no terminal acts on.

A terminal obeys control characters, and a reader is misled by characters that reorder or hide text. Both are shown
escaped, as Python writes them: ESC becomes ``\x1b``, U+202E becomes ``\u202e``.
"""

from __future__ import annotations

import unicodedata

ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of controls (C0, C1), format characters (bidirectional, zero-width), lone surrogates, and line
and paragraph separators."""


def visible(text: str) -> str:
    """Return text with its control and format characters escaped; line feeds and tabs stay."""
    return _escaped(text, kept="\n\t")


def visible_line(text: str) -> str:
    """Return text as one line: as :func:`visible`, with line feeds and tabs escaped too."""
    return _escaped(text, kept="")


def _escaped(text: str, *, kept: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if character not in kept and unicodedata.category(character) in ESCAPED_CATEGORIES
        else character
        for character in text
    )
