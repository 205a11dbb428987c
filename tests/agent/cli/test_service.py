from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from agent.config import paths
from tests.agent.service.fakes import FakePython, FakeSystemctl

Caller = Callable[..., Result]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root of a machine on which systemd runs."""
    assert tmp_path / "machine" == paths.SYSTEM_ROOT
    (tmp_path / "machine/run/systemd/system").mkdir(parents=True)
    return tmp_path / "machine"


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSystemctl:
    """Return the fake systemctl, which is found first."""
    fake = FakeSystemctl(tmp_path)
    monkeypatch.setenv("PATH", f"{fake.programs}{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("LEARND_")]:
        monkeypatch.delenv(name)
    return fake


@pytest.fixture
def python(tmp_path: Path) -> FakePython:
    """Return the fake interpreter."""
    return FakePython(tmp_path)


@pytest.fixture
def install(call: Caller, root: Path, systemd: FakeSystemctl, python: FakePython) -> Caller:
    """Return a function that installs a service of the machine with the fake interpreter."""
    assert root.exists()
    assert systemd.programs.exists()
    return lambda *options: call("service", "install", "--system", "--python", str(python.path), *options)


def answer(result: Result) -> dict[str, Any]:
    return dict(json.loads(result.stdout))


def test_install_tells_each_step_and_where_the_page_is(install: Caller, root: Path) -> None:
    result = install()
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == f"done       make the environment: {root}/opt/learnd"
    assert f"done       write the unit: {root}/etc/systemd/system/learnd.service" in lines
    assert "done       start the service: learnd.service (systemctl start learnd.service)" in lines
    assert "The page: http://127.0.0.1:9464/" in lines
    assert any(line.endswith(f"sudo {root}/opt/learnd/bin/learnd status") for line in lines)


def test_install_answers_in_json(install: Caller, root: Path) -> None:
    (root / "etc/learnd").mkdir(parents=True)
    (root / "etc/learnd/learnd.toml").write_text('[service]\nlisten = "127.0.0.1:9555"\n')
    values = answer(install("--json"))
    assert values["scope"] == "system"
    assert values["url"] == "http://127.0.0.1:9555/"
    assert values["program"] == f"{root}/opt/learnd/bin/learnd"
    outcomes = {step["action"]: step["outcome"] for step in values["steps"]}
    assert outcomes["write the settings file"] == "unchanged"
    assert outcomes["start the service"] == "done"


def test_a_failure_in_json_has_the_steps_and_the_error(install: Caller, python: FakePython) -> None:
    python.set_offline(is_offline=True)
    result = install("--json")
    values = answer(result)
    assert result.exit_code == 1
    assert [step["outcome"] for step in values["steps"]] == ["done", "failed"]
    assert values["error"]["found"] == "no network"
    told = install()
    assert "error: running" in told.stderr
    assert "run the same command again" in told.stderr


def test_a_dry_run_says_so(install: Caller, root: Path) -> None:
    result = install("--dry-run")
    assert "planned    write the unit" in result.stdout
    assert "Nothing was changed (--dry-run)." in result.stdout
    assert not (root / "etc").exists()


def test_a_machine_without_systemd_is_refused_with_what_is_possible(install: Caller, root: Path) -> None:
    (root / "run/systemd/system").rmdir()
    result = install()
    assert result.exit_code == 1
    assert "systemd does not run on this machine" in result.stderr
    assert "--no-start" in result.stderr
    result = install("--no-start")
    assert result.exit_code == 0, result.stderr
    assert "skipped    start the service: learnd.service (--no-start)" in result.stdout
    assert "To start it: systemctl start learnd" in result.stdout


def test_a_service_of_the_machine_takes_no_other_folder(install: Caller) -> None:
    result = install("--data-dir", "/srv/learnd")
    assert result.exit_code == 1
    assert "a system service has its data in" in result.stderr


def test_a_service_of_a_user_gets_the_folders_of_the_user(
    call: Caller, tmp_path: Path, systemd: FakeSystemctl, python: FakePython, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LEARND_LEARNER__SEED", "3")
    (tmp_path / "run/systemd/private").mkdir(parents=True)
    result = call("service", "install", "--user", "--python", str(python.path), "--data-dir", "/srv/learnd")
    assert result.exit_code == 0, result.stderr
    unit = (tmp_path / "config/systemd/user/learnd.service").read_text()
    assert f'Environment="LEARND_CONFIG={tmp_path}/config/learnd/learnd.toml"' in unit
    assert 'Environment="LEARND_DATA_DIR=/srv/learnd"' in unit
    assert systemd.changes[-1] == "--user start learnd.service"
    assert "Variables of this shell that the service does not have: LEARND_LEARNER__SEED" in result.stdout
    assert answer(call("service", "status", "--user", "--json"))["data_dir"] == "/srv/learnd"
    assert call("service", "install", "--user", "--python", str(python.path)).exit_code == 0
    assert (tmp_path / "config/systemd/user/learnd.service").read_text() == unit, "an upgrade keeps the folders"


def test_a_settings_file_of_a_user_is_made_where_it_is_named(
    call: Caller, tmp_path: Path, systemd: FakeSystemctl, python: FakePython, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert systemd.programs.exists()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    file = tmp_path / "etc/mine.toml"
    result = call("service", "install", "--user", "--no-start", "--python", str(python.path), "--config", str(file))
    assert result.exit_code == 0, result.stderr
    assert file.exists()
    assert not (tmp_path / "config/learnd/learnd.toml").exists()
    assert answer(call("service", "status", "--user", "--json"))["settings"] == str(file)


def test_status_says_where_which_version_and_what_runs(install: Caller, call: Caller, root: Path) -> None:
    install()
    values = answer(call("service", "status", "--system", "--json"))
    assert values["version"] == "9.9.9"
    assert (values["active"], values["enabled"], values["unit_state"]) == ("active", "enabled", "current")
    assert (values["data_dir"], values["url"]) == (f"{root}/var/lib/learnd", "http://127.0.0.1:9464/")
    shown = call("service", "status", "--system").stdout
    assert "active" in shown
    assert "as this version writes it" in shown


def test_status_says_that_a_unit_was_edited(install: Caller, call: Caller, root: Path) -> None:
    install()
    unit = root / "etc/systemd/system/learnd.service"
    unit.write_text(unit.read_text() + "Nice=5\n")
    assert "edited by hand" in call("service", "status", "--system").stdout


def test_status_without_a_service_says_how_to_install_it(call: Caller) -> None:
    result = call("service", "status", "--system")
    assert result.exit_code == 0
    assert "learnd service install" in result.stdout


def test_uninstall_says_what_it_leaves_and_how_to_remove_it(install: Caller, call: Caller, root: Path) -> None:
    install()
    (root / "var/lib/learnd").mkdir(parents=True)
    result = call("service", "uninstall", "--system")
    assert result.exit_code == 0, result.stderr
    assert f"To remove it for ever: sudo rm -r {root}/var/lib/learnd" in result.stdout
    assert f"To remove it for ever: sudo rm -r {root}/etc/learnd" in result.stdout
    assert not (root / "opt/learnd").exists()


def test_a_purge_needs_consent(install: Caller, call: Caller, root: Path) -> None:
    install()
    (root / "var/lib/learnd").mkdir(parents=True)
    refused = call("service", "uninstall", "--system", "--purge")
    assert refused.exit_code == 1
    assert "--yes" in refused.stderr
    assert (root / "etc/systemd/system/learnd.service").exists()
    assert call("service", "uninstall", "--system", "--purge", "--dry-run").exit_code == 0
    assert (root / "var/lib/learnd").exists()
    assert call("service", "uninstall", "--system", "--purge", "--yes").exit_code == 0
    assert not (root / "var/lib/learnd").exists()
    assert not (root / "etc/learnd").exists()
