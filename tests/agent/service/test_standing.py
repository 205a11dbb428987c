from __future__ import annotations

from agent.service.installing import InstallOptions, install_steps
from agent.service.places import Places
from agent.service.program import Program
from agent.service.standing import standing_of
from agent.service.steps import run_steps
from agent.service.systemctl import Systemctl
from agent.service.unit_file import UnitState
from tests.agent.service.fakes import FakeSystemctl


def test_a_service_that_is_not_installed_says_so(places: Places, systemctl: Systemctl) -> None:
    standing = standing_of(places, systemctl)
    assert (standing.is_installed, standing.unit_state, standing.active) == (False, UnitState.MISSING, "")


def test_an_installed_service_says_where_which_version_and_since_when(
    places: Places, program: Program, systemctl: Systemctl, systemd: FakeSystemctl
) -> None:
    run_steps(install_steps(places, program, InstallOptions(), systemctl), is_dry=False)
    systemd.set("since", "@1764000000")
    systemd.set("needs-reload", "yes")
    systemd.set("restarts", "3")
    standing = standing_of(places, systemctl)
    assert (standing.program, standing.version) == (program.path, "9.9.9")
    assert (standing.active, standing.enabled, standing.since) == ("active", "enabled", 1764000000)
    assert (standing.pid, standing.restarts, standing.needs_daemon_reload) == (4321, 3, True)
    assert standing.unit_state is UnitState.CURRENT
    assert (standing.data_dir, standing.settings) == (places.data, places.settings)


def test_an_edited_unit_is_told(places: Places, program: Program, systemctl: Systemctl) -> None:
    run_steps(install_steps(places, program, InstallOptions(), systemctl), is_dry=False)
    places.unit.write_text(places.unit.read_text() + "Nice=5\n")
    assert standing_of(places, systemctl).unit_state is UnitState.EDITED


def test_without_a_running_systemd_the_files_are_still_told(
    places: Places, program: Program, systemd: FakeSystemctl
) -> None:
    places.runtime.rmdir()
    systemctl = Systemctl(places)
    run_steps(install_steps(places, program, InstallOptions(is_started=False), systemctl), is_dry=False)
    standing = standing_of(places, systemctl)
    assert (standing.is_installed, standing.is_systemd_running, standing.active) == (True, False, "")
    assert (standing.version, standing.enabled) == ("9.9.9", "enabled")
    assert systemd.get("enabled") == "enabled"
