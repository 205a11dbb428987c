"""The tables of modules in the documentation name every module of their package."""

from __future__ import annotations

import re

import pytest

from tests.repository import ROOT

TABLES = {"docs/algorithms/rl2.md": "agent/learners/rl2"}
"""By page, the package whose modules its table lists."""


def modules_of(package: str) -> set[str]:
    """Return the names of a package's modules and of its packages, with a slash after these."""
    inside = [path for path in (ROOT / package).iterdir() if not path.name.startswith("_")]
    return {f"{path.name}/" if path.is_dir() else path.name for path in inside}


def listed_in(page: str) -> set[str]:
    """Return the modules that the first cells of a page's tables name, those in packages by their package."""
    cells = re.findall(r"^\| (`.*?) \|", (ROOT / page).read_text(), re.MULTILINE)
    names = [name for cell in cells for name in re.findall(r"`([a-z_./]+)`", cell)]
    return {f"{name.split('/')[0]}/" if "/" in name else name for name in names}


@pytest.mark.parametrize(("page", "package"), TABLES.items(), ids=TABLES.values())
def test_the_table_of_modules_names_every_module(page: str, package: str) -> None:
    assert modules_of(package) - listed_in(page) == set()
