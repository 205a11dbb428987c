from __future__ import annotations

import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agent.service.errors import ServiceError
from agent.service.installing import InstallOptions, install_steps
from agent.service.places import Places, Scope, places_of
from agent.service.program import Program
from agent.service.steps import Outcome, StepError, StepReport, run_steps
from agent.service.systemctl import Systemctl
from agent.service.unit_file import TEMPLATE, UnitOptions, unit_text
from tests.agent.service.fakes import FakePython, FakeSystemctl

STARTED = InstallOptions()


@pytest.fixture
def as_it_is(places: Places) -> Program:
    """Return a program that is already installed."""
    path = places.environment / "bin/learnd"
    path.parent.mkdir(parents=True)
    path.touch()
    return Program(path=path, source=None, environment=places.environment, interpreter=Path("/usr/bin/python3"))


def installed(
    places: Places, program: Program, systemctl: Systemctl, options: InstallOptions = STARTED, *, is_dry: bool = False
) -> list[StepReport]:
    """Run the steps of an installation."""
    return run_steps(install_steps(places, program, options, systemctl), is_dry=is_dry)


def outcomes(reports: list[StepReport]) -> dict[str, Outcome]:
    return {f"{report.action} {report.subject}": report.outcome for report in reports}


def test_an_installation_makes_environment_settings_and_unit_and_starts_the_service(
    places: Places, program: Program, systemctl: Systemctl, systemd: FakeSystemctl, python: FakePython
) -> None:
    reports = installed(places, program, systemctl)
    assert {report.outcome for report in reports} == {Outcome.DONE}
    assert places.unit.read_text() == unit_text(UnitOptions(scope=Scope.SYSTEM, program=program.path))
    assert places.settings.read_text().startswith("# Settings of learnd.")
    assert systemd.changes == ["daemon-reload", "enable learnd.service", "start learnd.service"]
    made, torch, others, own = [call for call in python.calls if not call.startswith("-c")]
    assert made == f"-m venv {places.environment}"
    assert torch.endswith("install torch==2.13.0")
    assert others.endswith(f"install --constraint {program.source}/requirements.lock torch>=2.13 numpy>=2.0")
    assert own.endswith(f"install --no-deps --force-reinstall {program.source}")
    assert "pytest==" not in " ".join(python.calls)


def test_a_second_installation_changes_nothing(
    places: Places, as_it_is: Program, systemctl: Systemctl, systemd: FakeSystemctl
) -> None:
    installed(places, as_it_is, systemctl)
    systemd.forget_calls()
    reports = installed(places, as_it_is, systemctl)
    assert {report.outcome for report in reports} == {Outcome.UNCHANGED}
    assert systemd.changes == []


def test_an_upgrade_stops_the_service_first_and_keeps_settings_and_data(
    places: Places, program: Program, systemctl: Systemctl, systemd: FakeSystemctl, python: FakePython
) -> None:
    installed(places, program, systemctl)
    places.settings.write_text('[service]\nlisten = "127.0.0.1:9555"\n')
    places.data.mkdir(parents=True)
    (places.data / "learnd.db").write_bytes(b"rows")
    systemd.forget_calls()
    reports = installed(places, program, systemctl)
    assert systemd.changes == ["stop learnd.service", "start learnd.service"]
    assert outcomes(reports)[f"make the environment {places.environment}"] is Outcome.UNCHANGED
    assert outcomes(reports)["install learnd"] is Outcome.DONE
    assert places.settings.read_text() == '[service]\nlisten = "127.0.0.1:9555"\n'
    assert (places.data / "learnd.db").read_bytes() == b"rows"
    assert len([call for call in python.calls if "venv" in call]) == 1


def test_a_running_service_is_restarted_for_a_new_unit_and_for_a_newer_learnd(
    places: Places, as_it_is: Program, systemctl: Systemctl, systemd: FakeSystemctl
) -> None:
    installed(places, as_it_is, systemctl)
    systemd.forget_calls()
    installed(places, as_it_is, systemctl, replace(STARTED, has_gpu=True))
    assert systemd.changes == ["daemon-reload", "enable learnd.service", "restart learnd.service"]
    assert "PrivateDevices=no" in places.gpu_drop_in.read_text()
    systemd.forget_calls()
    metadata = as_it_is.environment / "lib/python3.11/site-packages/learnd-9.9.9.dist-info"
    metadata.mkdir(parents=True)
    systemd.set("since", f"@{int(time.time()) - 60}")
    installed(places, as_it_is, systemctl)
    assert systemd.changes == ["restart learnd.service"]


def test_an_upgrade_writes_a_drop_in_for_gpus_again(places: Places, as_it_is: Program, systemctl: Systemctl) -> None:
    installed(places, as_it_is, systemctl, replace(STARTED, has_gpu=True))
    places.gpu_drop_in.write_text("of an older version\n")
    installed(places, as_it_is, systemctl)
    assert "PrivateDevices=no" in places.gpu_drop_in.read_text()


def test_a_unit_that_was_edited_by_hand_is_kept_beside_the_new_one(
    places: Places, as_it_is: Program, systemctl: Systemctl
) -> None:
    places.unit.parent.mkdir(parents=True)
    edited = TEMPLATE.read_text().replace("CPUWeight=50", "CPUWeight=90")
    places.unit.write_text(edited)
    reports = installed(places, as_it_is, systemctl)
    assert places.unit.with_name("learnd.service.replaced").read_text() == edited
    assert "CPUWeight=50" in places.unit.read_text()
    assert any("kept as learnd.service.replaced" in report.detail for report in reports)


def test_files_of_a_system_service_are_readable_whatever_the_umask_is(
    places: Places, as_it_is: Program, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    previous = os.umask(0o077)
    try:
        installed(places, as_it_is, systemctl)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(places.settings.stat().st_mode) == 0o644
    assert stat.S_IMODE(places.settings.parent.stat().st_mode) == 0o755
    assert stat.S_IMODE(places.unit.stat().st_mode) == 0o644


def test_a_dry_run_changes_nothing(
    places: Places, program: Program, systemctl: Systemctl, systemd: FakeSystemctl, root: Path
) -> None:
    before = sorted(root.rglob("*"))
    reports = installed(places, program, systemctl, is_dry=True)
    assert {report.outcome for report in reports} == {Outcome.PLANNED}
    assert sorted(root.rglob("*")) == before
    assert systemd.changes == []


def test_a_failure_midway_says_what_was_done_and_the_next_run_goes_on_from_there(
    places: Places, program: Program, systemctl: Systemctl, python: FakePython
) -> None:
    python.set_offline(is_offline=True)
    with pytest.raises(StepError) as failure:
        installed(places, program, systemctl)
    assert failure.value.found == "no network"
    assert f"Done before: make the environment {places.environment}." in failure.value.hint
    assert "run the same command again" in failure.value.hint
    assert [report.outcome for report in failure.value.reports] == [Outcome.DONE, Outcome.FAILED]
    assert not places.unit.exists()
    python.set_offline(is_offline=False)
    reports = installed(places, program, systemctl)
    assert outcomes(reports)[f"make the environment {places.environment}"] is Outcome.UNCHANGED
    assert places.unit.exists()


def test_a_half_made_environment_is_removed_so_that_the_next_installation_makes_it(
    places: Places, program: Program, systemctl: Systemctl, python: FakePython
) -> None:
    python.set_without_pip(is_without=True)
    with pytest.raises(StepError) as failure:
        installed(places, program, systemctl)
    assert failure.value.found == "ensurepip is not available"
    assert not places.environment.exists()
    python.set_without_pip(is_without=False)
    assert outcomes(installed(places, program, systemctl))[f"make the environment {places.environment}"] is Outcome.DONE


def test_a_start_that_fails_names_the_log(
    places: Places, as_it_is: Program, systemctl: Systemctl, systemd: FakeSystemctl
) -> None:
    systemd.fail("start", "Job for learnd.service failed.")
    with pytest.raises(StepError) as failure:
        installed(places, as_it_is, systemctl)
    assert failure.value.found == "Job for learnd.service failed."
    assert "journalctl -u learnd -n 50" in failure.value.hint
    assert "write the unit" in failure.value.hint
    systemd.mend("start")
    assert outcomes(installed(places, as_it_is, systemctl))["start the service learnd.service"] is Outcome.DONE


def test_without_systemd_nothing_is_begun_and_no_start_writes_the_files(
    places: Places, as_it_is: Program, systemd: FakeSystemctl
) -> None:
    places.runtime.rmdir()
    systemctl = Systemctl(places)
    with pytest.raises(ServiceError, match="systemd does not run on this machine") as failure:
        installed(places, as_it_is, systemctl)
    assert "--no-start" in failure.value.hint
    assert not places.unit.exists()
    reports = installed(places, as_it_is, systemctl, replace(STARTED, is_started=False))
    assert places.unit.exists()
    assert systemd.changes == ["enable learnd.service"]
    skipped = {report.action: report.detail for report in reports if report.outcome is Outcome.SKIPPED}
    assert skipped == {"have systemd read the unit": "systemd does not run", "start the service": "--no-start"}


def test_without_systemctl_the_files_are_written(
    places: Places, as_it_is: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    reports = installed(places, as_it_is, Systemctl(places), replace(STARTED, is_started=False))
    assert outcomes(reports)["enable the service learnd.service"] is Outcome.SKIPPED
    assert places.unit.exists()


def test_a_user_without_a_manager_is_told_how_to_get_one(
    tmp_path: Path, as_it_is: Program, systemd: FakeSystemctl
) -> None:
    assert systemd.programs.exists()
    places = places_of(Scope.USER, variables={"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")})
    with pytest.raises(ServiceError, match="no systemd runs for this user") as failure:
        installed(places, as_it_is, Systemctl(places))
    assert "loginctl enable-linger" in failure.value.hint


def test_a_service_of_a_user_calls_the_manager_of_the_user(
    tmp_path: Path, as_it_is: Program, systemd: FakeSystemctl
) -> None:
    runtime = tmp_path / "run"
    (runtime / "systemd/private").mkdir(parents=True)
    places = places_of(Scope.USER, variables={"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)})
    options = InstallOptions(variables={"LEARND_DATA_DIR": "/srv/learnd"})
    installed(places, as_it_is, Systemctl(places), options)
    assert places.unit == tmp_path / ".config/systemd/user/learnd.service"
    assert 'Environment="LEARND_DATA_DIR=/srv/learnd"' in places.unit.read_text()
    assert systemd.changes[-1] == "--user start learnd.service"


def test_a_folder_with_something_else_is_not_made_an_environment(
    places: Places, program: Program, systemctl: Systemctl
) -> None:
    places.environment.mkdir(parents=True)
    (places.environment / "notes.txt").touch()
    with pytest.raises(ServiceError, match="is no virtual environment"):
        installed(places, program, systemctl)


def test_an_environment_of_another_python_is_kept(
    places: Places, program: Program, systemctl: Systemctl, python: FakePython, tmp_path: Path
) -> None:
    installed(places, program, systemctl)
    other = tmp_path / "other"
    other.mkdir()
    newer = FakePython(other)
    newer.set_version("3.13")
    with pytest.raises(ServiceError, match=r"it has Python 3\.11, and .* is Python 3\.13") as failure:
        installed(places, replace(program, interpreter=newer.path), systemctl)
    assert "packages that you added are lost" in failure.value.hint
    assert python.calls
