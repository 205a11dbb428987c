from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.output.visible_text import visible, visible_line
from tests.agent.cli.hostile import hidden_characters


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain größer → ✓ 名前 [/red]", "plain größer → ✓ 名前 [/red]"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\rb\x08\x7f", r"a\rb\x08\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("txt\u202egnp.exe", r"txt\u202egnp.exe"),
        ("\u2066a\u2069\u200b\ufeff", r"\u2066a\u2069\u200b\ufeff"),
        ("caf\udce9", r"caf\udce9"),
        ("\U000e0041", r"\U000e0041"),
        ("\u2028", r"\u2028"),
        ("line\n\tnext", "line\n\tnext"),
    ],
)
def test_control_and_format_characters_are_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_one_line_has_no_breaks() -> None:
    assert visible_line("line\n\tnext") == r"line\n\tnext"


@given(st.text(st.characters(), max_size=40))
def test_nothing_hidden_is_left_of_any_text(text: str) -> None:
    assert hidden_characters(visible(text)) <= {"\t"}
    assert not hidden_characters(visible_line(text)) | ({"\n"} & set(visible_line(text)))
    assert visible(visible(text)) == visible(text)
    visible(text).encode()
