r"""Conversion of text from environments, files and other processes to text that is safe on a terminal.

Terminals execute control characters, and some format characters reorder or hide text. Both are escaped as in Python:
ESC becomes ``\x1b``, U+202E becomes ``\u202e``.
"""

from __future__ import annotations

import unicodedata

ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of control characters (C0, C1), format characters (bidirectional, zero-width), lone surrogates,
and line and paragraph separators."""


def visible(text: str) -> str:
    """Return text with control and format characters escaped; line feeds and tabs are kept."""
    return _escaped(text, kept="\n\t")


def visible_line(text: str) -> str:
    """Return text as one line: like :func:`visible`, but line feeds and tabs are escaped too."""
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
