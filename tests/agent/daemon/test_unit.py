"""The systemd unit: valid without warnings, and with a low exposure level."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.daemon.descriptors import WANTED_DESCRIPTORS
from tests.repository import ROOT

UNIT = ROOT / "systemd" / "learnd.service"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze on the unit, with /bin/true instead of the installed program."""
    unit = tmp_path / "learnd.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    command = ["systemd-analyze", *arguments, str(unit)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@needs_systemd
def test_systemd_knows_every_key_of_the_unit(tmp_path: Path) -> None:
    verified = analyze(tmp_path, "verify", "--man=no")
    assert (verified.returncode, verified.stderr) == (0, "")


@needs_systemd
def test_the_unit_is_exposed_no_more_than_it_must_be(tmp_path: Path) -> None:
    scored = analyze(tmp_path, "security", "--offline=yes", "--no-pager")
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", scored.stdout)
    assert found is not None, scored.stderr
    assert float(found[1]) <= 1.5


def test_the_unit_keeps_what_torch_and_the_metrics_need() -> None:
    settings = re.findall(r"^([A-Za-z]+)=", UNIT.read_text(), flags=re.MULTILINE)
    assert "MemoryDenyWriteExecute" not in settings
    assert "ProcSubset" not in settings


def test_systemd_never_gives_up_starting_the_service_but_for_settings_that_cannot_be_used() -> None:
    settings = dict(re.findall(r"^([A-Za-z]+)=(.*)$", UNIT.read_text(), flags=re.MULTILINE))
    assert settings["StartLimitIntervalSec"] == "0"
    assert settings["Restart"] == "on-failure"
    assert settings["RestartPreventExitStatus"] == "2"
    assert "SuccessExitStatus" not in settings


def test_the_service_may_open_as_many_files_as_it_asks_for() -> None:
    settings = dict(re.findall(r"^([A-Za-z]+)=(.*)$", UNIT.read_text(), flags=re.MULTILINE))
    assert int(settings["LimitNOFILE"]) == WANTED_DESCRIPTORS


def test_the_guide_names_the_folders_of_the_unit() -> None:
    settings = dict(re.findall(r"^([A-Za-z]+)=(.*)$", UNIT.read_text(), flags=re.MULTILINE))
    assert settings["DynamicUser"] == "yes", "systemd keeps the state of a dynamic user in /var/lib/private"
    guide = (ROOT / "systemd" / "README.md").read_text()
    remove = guide.partition("## Remove\n")[2].partition("\n## ")[0]
    program = settings["ExecStart"].partition("/bin/")[0]
    expected = (
        f"/var/lib/private/{settings['StateDirectory']}",
        f"/var/lib/{settings['StateDirectory']}",
        f"/etc/{settings['ConfigurationDirectory']}",
        f"sudo rm -r {program}\n",
        f"sudo rm /etc/systemd/system/{UNIT.name}\n",
    )
    assert [text for text in expected if text not in remove] == []


def test_an_upgrade_installs_what_the_installation_installed() -> None:
    guide = (ROOT / "systemd" / "README.md").read_text()
    install, upgrade = (guide.partition(f"## {name}\n")[2].partition("\n## ")[0] for name in ("Install", "Upgrade"))
    commands = re.findall(r"^sudo (?:install|/opt/learnd/bin/pip) .*$", install, flags=re.MULTILINE)
    assert len(commands) == 5
    installed = upgrade.replace("--force-reinstall ", "")
    assert [command for command in commands if command not in installed] == []
