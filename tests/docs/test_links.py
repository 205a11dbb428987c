"""Links between the pages of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.repository import ROOT

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "systemd/*.md", "monitoring/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def anchor_of(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"[`*]", "", heading.strip().lower()))
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def broken_links(page: Path) -> list[str]:
    """Return the links of a page that lead to no file or to no heading."""
    broken = []
    for link in _LINK.findall(page.read_text()):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        is_page = target.suffix == ".md" and target.exists()
        if not target.exists() or (
            anchor and is_page and anchor not in {anchor_of(text) for text in _HEADING.findall(target.read_text())}
        ):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken_links(page) == []


def test_a_link_to_a_missing_file_or_heading_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Only heading\n")
    page = tmp_path / "page.md"
    page.write_text("[a](missing.md) [b](other.md#no-such) [c](other.md#only-heading)")
    assert broken_links(page) == ["missing.md", "other.md#no-such"]
