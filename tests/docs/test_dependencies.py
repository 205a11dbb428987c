"""The table of dependencies in the documentation lists every package that pyproject.toml names."""

from __future__ import annotations

import re
import tomllib

from tests.repository import ROOT


def declared() -> set[str]:
    """Return the names of all packages that the project needs, its extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [
        *project["dependencies"],
        *(text for extra in project["optional-dependencies"].values() for text in extra),
    ]
    return {re.split(r"[\[<>=]", requirement)[0].lower() for requirement in requirements}


def listed() -> set[str]:
    """Return the names in the first column of the table of dependencies."""
    table = (ROOT / "docs" / "architecture.md").read_text().partition("\n## Dependencies\n")[2]
    cells = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    return {name.split()[0].lower() for cell in cells for name in re.sub(r"\(.*?\)", "", cell).split(",")}


def test_every_dependency_is_listed_with_its_reason() -> None:
    assert declared() - listed() == set()
