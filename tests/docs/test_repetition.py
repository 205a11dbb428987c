"""Repetition within a page of the documentation, which a merge of two versions of a text leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.test_links import PAGES
from tests.repository import ROOT

SUBJECTS_MAY_RECUR = ("CHANGELOG.md", "docs/lab/")
"""Pages with a heading of the same name in each release, and with tables of one row per measurement."""

CHECKED = [page for page in PAGES if not str(page.relative_to(ROOT)).startswith(SUBJECTS_MAY_RECUR)]


def repeated(page: Path) -> list[str]:
    """Return the headings that occur twice in a page, and the first cells that occur twice in one table."""
    lines = page.read_text().splitlines()
    headings = Counter(line for line in lines if line.startswith("## "))
    cells = [Counter(table) for table in first_cells_by_table(lines)]
    return [text for count in (headings, *cells) for text, number in count.items() if number > 1]


def first_cells_by_table(lines: list[str]) -> Iterator[list[str]]:
    """Yield for each table the first cells that are not empty."""
    cells: list[str] = []
    for line in (*lines, ""):
        if line.startswith("|"):
            cells += filter(None, [line.split("|")[1].strip()])
        elif cells:
            yield cells
            cells = []


@pytest.mark.parametrize("page", CHECKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_repeats_a_heading_or_a_row(page: Path) -> None:
    assert repeated(page) == []


def test_a_repeated_heading_and_a_repeated_row_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("## A\n| a | 1 |\n| b | 1 |\n| a | 2 |\n\n| b | 3 |\n## A\n")
    assert repeated(page) == ["## A", "a"]
