from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.service.errors import ServiceError
from agent.service.places import Places, Scope, places_of
from agent.service.program import AtHand, at_hand, chosen_program
from agent.service.unit_file import UnitOptions, unit_text
from tests.repository import ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root of a machine."""
    return tmp_path / "machine"


@pytest.fixture
def system(root: Path) -> Places:
    """Return the places of a system service."""
    return places_of(Scope.SYSTEM, root=root)


def installation(prefix: Path, *, source: Path | None = None, is_environment: bool = True) -> AtHand:
    """Make an installation of learnd."""
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/learnd").touch()
    base = prefix.parent / "python3.11"
    return AtHand(prefix=prefix, base=base, is_environment=is_environment, source=source)


def test_a_package_in_an_environment_that_the_service_can_read_is_used_as_it_is(root: Path, system: Places) -> None:
    found = installation(root / "srv/learnd")
    program = chosen_program(system, found, root=root)
    assert (program.path, program.source) == (root / "srv/learnd/bin/learnd", None)


def test_from_the_source_an_environment_is_made(root: Path, system: Places) -> None:
    found = installation(root / "srv/checkout/.venv", source=root / "srv/checkout")
    program = chosen_program(system, found, root=root)
    assert (program.path, program.source) == (root / "opt/learnd/bin/learnd", root / "srv/checkout")


@pytest.mark.parametrize("closed", ["home/ann", "root", "tmp", "var/tmp/x"])
def test_an_environment_that_the_unit_hides_is_not_used(root: Path, system: Places, closed: str) -> None:
    found = installation(root / closed / "venv", source=root / "srv/checkout")
    made = replace(found, base=root / "usr/bin/python3.11")
    assert chosen_program(system, made, root=root).path == root / "opt/learnd/bin/learnd"
    with pytest.raises(ServiceError, match="the unit hides"):
        chosen_program(system, found, is_here=True, root=root)


def test_an_interpreter_that_the_unit_hides_is_refused_with_the_way_out(root: Path, system: Places) -> None:
    found = installation(root / "home/ann/venv", source=root / "srv/checkout")
    with pytest.raises(ServiceError, match="--python FILE"):
        chosen_program(system, found, root=root)


def test_a_package_in_a_home_folder_needs_the_source(root: Path, system: Places) -> None:
    with pytest.raises(ServiceError, match="needs learnd's source"):
        chosen_program(system, installation(root / "home/ann/venv"), root=root)


def test_a_service_of_a_user_may_run_from_a_home_folder(root: Path) -> None:
    places = places_of(Scope.USER, variables={"HOME": str(root / "home/ann")})
    found = installation(root / "home/ann/venv")
    assert chosen_program(places, found, root=root).path == root / "home/ann/venv/bin/learnd"


def test_here_runs_from_the_source_where_the_service_can_read_it(root: Path, system: Places) -> None:
    found = installation(root / "srv/checkout/.venv", source=root / "srv/checkout")
    program = chosen_program(system, found, is_here=True, root=root)
    assert (program.path, program.source) == (root / "srv/checkout/.venv/bin/learnd", None)


def test_an_interpreter_without_the_program_is_refused(root: Path, system: Places) -> None:
    found = AtHand(prefix=root / "usr", base=root / "usr/bin/python3", is_environment=False, source=None)
    with pytest.raises(ServiceError, match="has no program learnd"):
        chosen_program(system, found, is_here=True, root=root)


def test_these_tests_run_from_the_source() -> None:
    assert at_hand().source == ROOT


def test_an_upgrade_keeps_the_environment_that_an_installation_has_made(root: Path, system: Places) -> None:
    made = root / "srv/learnd"
    run_by_unit(system, made)
    (made / ".made-by-learnd-service-install").touch()
    found = installation(root / "srv/checkout/.venv", source=root / "srv/checkout")
    assert chosen_program(system, found, root=root).environment == made
    (made / ".made-by-learnd-service-install").unlink()
    assert chosen_program(system, found, root=root).environment == root / "opt/learnd"


def test_a_service_that_runs_from_here_goes_on_so(root: Path, system: Places) -> None:
    found = installation(root / "srv/checkout/.venv", source=root / "srv/checkout")
    run_by_unit(system, found.prefix)
    assert chosen_program(system, found, root=root).source is None
    assert chosen_program(system, found, environment=root / "opt/x", root=root).source == root / "srv/checkout"


def run_by_unit(places: Places, environment: Path) -> None:
    """Write a unit that runs learnd from an environment."""
    environment.mkdir(parents=True, exist_ok=True)
    places.unit.parent.mkdir(parents=True)
    places.unit.write_text(unit_text(UnitOptions(scope=places.scope, program=environment / "bin/learnd")))
