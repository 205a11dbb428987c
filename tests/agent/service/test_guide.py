"""The guide to the system service, held to its unit and to where it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.service.places import Places, Scope, places_of
from tests.repository import ROOT

GUIDE = (ROOT / "systemd" / "README.md").read_text()


def section(name: str) -> str:
    """Return a section of the guide."""
    return GUIDE.partition(f"## {name}\n")[2].partition("\n## ")[0]


@pytest.fixture
def system() -> Places:
    """Return the places of a service of the machine."""
    return places_of(Scope.SYSTEM)


def test_the_guide_names_what_an_installation_makes(system: Places) -> None:
    install = section("Install")
    made = (system.environment, system.settings, system.unit)
    assert [path for path in made if f"`{path}`" not in install] == []


def test_the_guide_names_the_folders_of_the_data(system: Places) -> None:
    assert [path for path in system.data_parts if f"`{path}`" not in section("Remove")] == []


def test_the_guide_names_the_folders_of_a_user() -> None:
    user = places_of(Scope.USER, variables={"HOME": "~"})
    text = section("A service of your own user")
    assert [path for path in (user.data, user.settings, user.environment) if f"`{Path(path)}`" not in text] == []


def test_an_upgrade_is_the_command_of_the_installation() -> None:
    assert "sudo make install" in section("Install")
    assert "sudo make install" in section("Upgrade")
