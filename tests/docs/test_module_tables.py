"""The tables of modules in the documentation name every module of their package, and none that does not exist."""

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


def cells_of(page: str) -> list[list[str]]:
    """Return the names in each first cell of a page's tables."""
    cells = re.findall(r"^\| (`.*?) \|", (ROOT / page).read_text(), re.MULTILINE)
    return [re.findall(r"`([a-z_./]+)`", cell) for cell in cells]


def listed_in(page: str) -> set[str]:
    """Return the modules that the first cells of a page's tables name, those in packages by their package."""
    return {f"{name.split('/')[0]}/" if "/" in name else name for names in cells_of(page) for name in names}


def missing_in(page: str, package: str) -> list[str]:
    """Return the modules that a page names and that do not exist. A name may be in the folder of the first of its cell.

    Args:
        page: the page.
        package: the package of the modules.
    """
    missing = []
    for names in cells_of(page):
        modules = [name for name in names if name.endswith((".py", "/"))]
        folders = [ROOT / package, *((ROOT / package / name).parent for name in modules[:1])]
        missing += [name for name in modules if not any((folder / name).exists() for folder in folders)]
    return missing


@pytest.mark.parametrize(("page", "package"), TABLES.items(), ids=TABLES.values())
def test_the_table_of_modules_names_every_module_and_no_other(page: str, package: str) -> None:
    assert modules_of(package) - listed_in(page) == set()
    assert missing_in(page, package) == []
