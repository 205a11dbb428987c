from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.service.installing import InstallOptions, install_steps
from agent.service.places import Places, Scope, places_of
from agent.service.program import Program
from agent.service.removing import left_behind, removal_steps
from agent.service.steps import Outcome, run_steps
from agent.service.systemctl import Systemctl
from tests.agent.service.fakes import FakeSystemctl


@pytest.fixture(autouse=True)
def _installed(places: Places, program: Program, systemctl: Systemctl, systemd: FakeSystemctl) -> None:
    options = InstallOptions(has_gpu=True)
    run_steps(install_steps(places, program, options, systemctl), is_dry=False)
    private = places.data.parent / "private/learnd"
    private.mkdir(parents=True)
    (private / "learnd.db").write_bytes(b"rows")
    places.data.symlink_to("private/learnd")
    systemd.forget_calls()


def remove(places: Places, systemctl: Systemctl, *, is_purging: bool = False) -> None:
    run_steps(removal_steps(places, systemctl, is_purging=is_purging), is_dry=False)


def test_a_removal_leaves_data_and_settings_and_says_how_to_remove_them(
    places: Places, systemctl: Systemctl, systemd: FakeSystemctl
) -> None:
    left = {part.what: part for part in left_behind(places, data_dir=places.data, is_purging=False)}
    remove(places, systemctl)
    assert systemd.changes == ["disable --now learnd.service", "daemon-reload"]
    assert not places.unit.exists()
    assert not places.drop_ins.exists()
    assert not places.environment.exists()
    assert (places.data / "learnd.db").read_bytes() == b"rows"
    assert places.settings.exists()
    assert left.keys() == {"data", "settings"}
    assert left["data"].command == f"sudo rm -r {places.data.parent}/private/learnd {places.data}"
    assert left["settings"].command == f"sudo rm -r {places.settings.parent}"


def test_a_purge_leaves_nothing(places: Places, systemctl: Systemctl, root: Path) -> None:
    (places.drop_ins / "override.conf").write_text("[Service]\n")
    assert left_behind(places, data_dir=places.data, is_purging=True) == []
    remove(places, systemctl, is_purging=True)
    assert [path for path in root.rglob("*") if "learnd" in path.name] == []


def test_a_purge_of_a_users_service_leaves_nothing(
    program: Program, systemd: FakeSystemctl, tmp_path: Path, root: Path
) -> None:
    home = tmp_path / "home"
    places = places_of(Scope.USER, variables={"HOME": str(home), "XDG_RUNTIME_DIR": str(root / "run")})
    places.runtime.touch()
    places.data.mkdir(parents=True)
    own = replace(program, path=places.environment / "bin/learnd", environment=places.environment)
    run_steps(install_steps(places, own, InstallOptions(), Systemctl(places)), is_dry=False)
    remove(places, Systemctl(places), is_purging=True)
    assert "--user disable --now learnd.service" in systemd.changes
    assert [path for path in home.rglob("*") if "learnd" in path.name] == []


def test_a_data_folder_elsewhere_is_never_removed(places: Places, systemctl: Systemctl, tmp_path: Path) -> None:
    elsewhere = tmp_path / "srv"
    elsewhere.mkdir()
    (left,) = left_behind(places, data_dir=elsewhere, is_purging=True)
    remove(places, systemctl, is_purging=True)
    assert (left.what, left.paths) == ("data", (elsewhere,))
    assert elsewhere.exists()


def test_an_environment_and_drop_ins_of_the_user_stay(places: Places, systemctl: Systemctl) -> None:
    (places.environment / ".made-by-learnd-service-install").unlink()
    (places.drop_ins / "override.conf").write_text("[Service]\n")
    left = {part.what for part in left_behind(places, data_dir=places.data, is_purging=False)}
    remove(places, systemctl)
    assert left == {"data", "settings", "environment", "drop-ins"}
    assert places.environment.exists()
    assert [path.name for path in places.drop_ins.iterdir()] == ["override.conf"]


def test_a_second_removal_does_nothing(places: Places, systemctl: Systemctl, systemd: FakeSystemctl) -> None:
    remove(places, systemctl)
    systemd.forget_calls()
    reports = run_steps(removal_steps(places, systemctl, is_purging=False), is_dry=False)
    assert {report.outcome for report in reports} == {Outcome.UNCHANGED}
    assert systemd.changes == []


def test_without_a_running_systemd_the_links_are_removed(places: Places, systemd: FakeSystemctl) -> None:
    places.runtime.rmdir()
    remove(places, Systemctl(places))
    assert systemd.changes == ["disable learnd.service"]
    assert not places.unit.exists()
