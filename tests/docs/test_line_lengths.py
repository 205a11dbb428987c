"""Lines of prose in the documentation: at most 120 characters, so that they can be read and compared in a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.test_links import PAGES
from tests.repository import ROOT

MAX_CHARS = 120


def long_lines(page: Path) -> list[int]:
    """Return the numbers of the lines that are too long and are neither rows of a table nor a single word or link."""
    return [
        number
        for number, line in enumerate(page.read_text().splitlines(), start=1)
        if len(line) > MAX_CHARS and not line.lstrip().startswith("|") and " " in line.strip()
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_of_prose_is_too_long(page: Path) -> None:
    assert long_lines(page) == []


def test_a_long_line_is_found_and_a_long_row_of_a_table_or_link_is_not(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"short\n{'word ' * 30}\n| {'cell ' * 30} |\n  | {'cell ' * 30} |\n[link](http://{'x' * 130})\n")
    assert long_lines(page) == [2]
