from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.config.worker_settings import WorkersSettings
from agent.daemon.http.descriptors import WANTED_DESCRIPTORS
from agent.service.places import Scope
from agent.service.unit_file import (
    TEMPLATE,
    UnitOptions,
    UnitState,
    is_unedited,
    read_options,
    unit_state,
    unit_text,
)
from envs.limits import THREADS_PER_PROCESS

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
SYSTEM = UnitOptions(scope=Scope.SYSTEM, program=Path("/opt/learnd/bin/learnd"))
USER = UnitOptions(
    scope=Scope.USER,
    program=Path("/home/ann/.local/share/learnd/venv/bin/learnd"),
    variables={"LEARND_DATA_DIR": "/srv/learnd"},
)


def settings_of(text: str) -> dict[str, str]:
    """Return the settings of a unit; of one that is given twice the last."""
    return dict(re.findall(r"^([A-Za-z]+)=(.*)$", text, flags=re.MULTILINE))


def analyze(tmp_path: Path, options: UnitOptions, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze on the unit, with /bin/true instead of the installed program."""
    unit = tmp_path / "learnd.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit_text(options), flags=re.MULTILINE))
    command = ["systemd-analyze", *arguments, str(unit)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@needs_systemd
@pytest.mark.parametrize("options", [SYSTEM, USER], ids=["system", "user"])
def test_systemd_knows_every_key_of_the_unit(tmp_path: Path, options: UnitOptions) -> None:
    verified = analyze(tmp_path, options, "verify", "--man=no")
    assert (verified.returncode, verified.stderr) == (0, "")


@needs_systemd
def test_the_unit_is_exposed_no_more_than_it_must_be(tmp_path: Path) -> None:
    scored = analyze(tmp_path, SYSTEM, "security", "--offline=yes", "--no-pager")
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", scored.stdout)
    assert found is not None, scored.stderr
    assert float(found[1]) <= 1.5


def test_the_unit_keeps_what_torch_and_the_metrics_need() -> None:
    settings = settings_of(unit_text(SYSTEM))
    assert "MemoryDenyWriteExecute" not in settings
    assert "ProcSubset" not in settings


def test_systemd_never_gives_up_starting_the_service_but_for_settings_that_cannot_be_used() -> None:
    settings = settings_of(unit_text(SYSTEM))
    assert settings["StartLimitIntervalSec"] == "0"
    assert settings["Restart"] == "on-failure"
    assert settings["RestartPreventExitStatus"] == "2"
    assert "SuccessExitStatus" not in settings


def test_the_service_may_open_as_many_files_as_it_asks_for() -> None:
    assert int(settings_of(unit_text(SYSTEM))["LimitNOFILE"]) == WANTED_DESCRIPTORS


@pytest.mark.parametrize("options", [SYSTEM, USER], ids=["system", "user"])
def test_a_worker_at_its_default_limit_of_processes_leaves_room_for_the_service(options: UnitOptions) -> None:
    of_a_worker = THREADS_PER_PROCESS * WorkersSettings().max_processes
    assert int(settings_of(unit_text(options))["TasksMax"]) > of_a_worker


def test_the_template_is_the_unit_of_the_default_place() -> None:
    template = TEMPLATE.read_text()
    assert unit_text(SYSTEM).endswith(template[template.index("[Unit]") :])


def test_a_unit_of_a_user_has_what_a_user_may_ask_for() -> None:
    system, user = settings_of(unit_text(SYSTEM)), settings_of(unit_text(USER))
    kept = {"Type", "ExecReload", "WatchdogSec", "Restart", "KillMode", "UMask", "NoNewPrivileges"}
    assert {name: user[name] for name in kept} == {name: system[name] for name in kept}
    needs_root = {"DynamicUser", "StateDirectory", "ProtectSystem", "IPAddressDeny", "CapabilityBoundingSet"}
    assert needs_root <= system.keys()
    assert not needs_root & user.keys()
    assert user["WantedBy"] == "default.target"
    assert user["Environment"] == '"LEARND_DATA_DIR=/srv/learnd"'


@pytest.mark.parametrize(
    "options",
    [
        SYSTEM,
        USER,
        UnitOptions(scope=Scope.USER, program=Path('/srv/a b/50%/"q"/$x/bin/learnd')),
        UnitOptions(scope=Scope.USER, program=Path("/x/bin/learnd"), variables={"LEARND_CONFIG": '/a "b"\\c 5%.toml'}),
    ],
    ids=["system", "user", "a path to be quoted", "a value to be quoted"],
)
def test_a_unit_is_read_back(options: UnitOptions) -> None:
    assert read_options(unit_text(options), scope=options.scope) == options


def test_a_unit_that_runs_something_else_has_no_options() -> None:
    assert read_options("[Service]\nExecStart=/bin/true\n", scope=Scope.SYSTEM) is None


def test_current_outdated_and_edited_units_are_told_apart(tmp_path: Path) -> None:
    unit = tmp_path / "learnd.service"
    assert unit_state(unit, SYSTEM) is UnitState.MISSING
    unit.write_text(unit_text(SYSTEM))
    assert unit_state(unit, SYSTEM) is UnitState.CURRENT
    unit.write_text(unit_text(UnitOptions(scope=Scope.SYSTEM, program=Path("/srv/learnd/bin/learnd"))))
    assert unit_state(unit, SYSTEM) is UnitState.OUTDATED
    unit.write_text(unit_text(SYSTEM).replace("CPUWeight=50", "CPUWeight=90"))
    assert unit_state(unit, SYSTEM) is UnitState.EDITED
    unit.write_text(TEMPLATE.read_text())
    assert unit_state(unit, SYSTEM) is UnitState.EDITED


def test_a_line_added_above_the_digest_is_no_edit_of_the_unit() -> None:
    assert is_unedited("# a note\n" + unit_text(SYSTEM))
    assert not is_unedited(unit_text(SYSTEM) + "\n")
