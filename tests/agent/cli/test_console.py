from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.panel import Panel
from rich.progress import Progress
from rich.text import Text

from agent.cli.console import PlainConsole
from agent.cli.output import in_colour, indented, new_table, styled
from agent.cli.progress import DescriptionColumn
from tests.agent.cli.hostile import HOSTILE, hidden_characters


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Return what was written to stdout, 500 columns wide."""
    monkeypatch.setenv("COLUMNS", "500")
    return lambda: capsys.readouterr().out


def test_a_string_is_shown_letter_by_letter(written: Callable[[], str]) -> None:
    PlainConsole().print("[red]a[/red] [/b] :smile: \x1b[31m")
    assert written() == "[red]a[/red] [/b] :smile: \\x1b[31m\n"


def test_no_option_turns_markup_on(written: Callable[[], str]) -> None:
    PlainConsole().print("[bold]a[/bold] [/red]", markup=True, emoji=True)
    assert written() == "[bold]a[/bold] [/red]\n"


def test_cells_titles_and_texts_are_visible_text(written: Callable[[], str]) -> None:
    table = new_table("[/red]", HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE, Text(HOSTILE))
    PlainConsole().print(table, Panel(Text(HOSTILE), title=Text(HOSTILE)), HOSTILE, Text.from_ansi(HOSTILE))
    assert not hidden_characters(written())


def test_a_table_is_as_wide_as_what_it_shows(written: Callable[[], str]) -> None:
    table = new_table("name", "state")
    table.add_row("a\x1bb", "x")
    table.add_row("abcdef", "x")
    PlainConsole().print(table)
    columns = [line.rindex("x") for line in written().splitlines() if line.rstrip().endswith("x")]
    assert len(set(columns)) == 1


def test_progress_is_visible_text_on_a_terminal(written: Callable[[], str]) -> None:
    console = PlainConsole()
    console._force_terminal = True
    with Progress(DescriptionColumn(), console=console) as progress:
        progress.add_task("trying \x1b]0;title\x07 [/red]", total=None)
    text = written()
    assert r"\x1b]0;title\x07 [/red]" in text
    assert "\x1b]0;" not in text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text(st.characters(), max_size=30))
def test_nothing_hidden_reaches_the_stream(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    PlainConsole().print(text, Text(text), styled((text, "bold"), text), in_colour(text))
    assert not hidden_characters(stream.getvalue()) - {"\t"}


def test_style_stands_in_the_text_and_not_in_the_string() -> None:
    text = styled("a ", ("[b]", "red"), in_colour("failed"))
    assert text.plain == "a [b]failed"
    assert [str(span.style) for span in text.spans] == ["red", "red"]


def test_further_lines_of_a_message_are_indented() -> None:
    assert indented("one\n✓ store: whole\n") == "one\n    ✓ store: whole"
