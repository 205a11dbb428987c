from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.cli.doctor_findings import CheckContext, Verdict
from agent.cli.doctor_repairs import fixed
from agent.cli.doctor_unit import unit
from agent.config import paths
from agent.config.loading import load_settings
from agent.config.system_service import SystemService
from agent.service.places import Places, Scope, places_of
from agent.service.unit_file import UnitOptions, unit_text
from memory.folder import DataFolder
from tests.agent.service.fakes import FakeSystemctl


@pytest.fixture
def places() -> Places:
    """Return the places of a service of the machine, whose unit is current."""
    places = places_of(Scope.SYSTEM, root=paths.SYSTEM_ROOT)
    places.runtime.mkdir(parents=True)
    places.unit.parent.mkdir(parents=True)
    places.unit.write_text(unit_text(UnitOptions(scope=Scope.SYSTEM, program=Path("/opt/learnd/bin/learnd"))))
    return places


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSystemctl:
    """Return the fake systemctl, which is found first, with a running service."""
    fake = FakeSystemctl(tmp_path)
    monkeypatch.setenv("PATH", f"{fake.programs}{os.pathsep}{os.environ['PATH']}")
    fake.set("active", "active")
    fake.set("enabled", "enabled")
    return fake


@pytest.fixture
def context(places: Places, systemd: FakeSystemctl) -> CheckContext:
    """Return the context of a check of the service of the machine."""
    assert systemd.programs.exists()
    service = SystemService(
        unit=places.unit, settings_file=None, new_settings_file=places.settings, data_dir=places.data
    )
    return context_of(places.data, service)


def context_of(data: Path, service: SystemService | None) -> CheckContext:
    settings = load_settings(None, {"data_dir": data})
    return CheckContext(settings=settings, folder=DataFolder(data), store=None, tell=lambda _: None, service=service)


def test_a_current_unit_of_a_running_service_is_good(context: CheckContext) -> None:
    (finding,) = unit(context)
    assert (finding.verdict, finding.check) == (Verdict.OK, "unit")
    assert finding.found.endswith("is current; active")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (unit_text(UnitOptions(scope=Scope.SYSTEM, program=Path("/x/bin/learnd"))) + "Nice=5\n", "edited by hand"),
        ("[Service]\nExecStart=/bin/true\n", "edited by hand"),
    ],
)
def test_an_edited_unit_is_warned_of_and_left_to_a_person(
    context: CheckContext, places: Places, text: str, found: str
) -> None:
    places.unit.write_text(text)
    (finding,) = unit(context)
    assert finding.verdict is Verdict.WARN
    assert found in finding.found
    assert finding.repair is not None
    assert (finding.repair.command, finding.repair.is_safe) == ("learnd service install", False)


def test_a_unit_of_another_version_is_warned_of(
    context: CheckContext, places: Places, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from agent.service import unit_file

    newer = tmp_path / "learnd.service"
    newer.write_text(unit_file.TEMPLATE.read_text().replace("CPUWeight=50", "CPUWeight=60"))
    monkeypatch.setattr(unit_file, "TEMPLATE", newer)
    (finding,) = unit(context)
    assert "of another version" in finding.found
    assert places.unit.exists()


def test_systemd_is_made_to_read_a_newer_unit(context: CheckContext, systemd: FakeSystemctl) -> None:
    systemd.set("needs-reload", "yes")
    findings = list(unit(context))
    assert [fix.command for fix in fixed(findings, tell=lambda _: None)] == ["systemctl daemon-reload"]
    assert systemd.changes == ["daemon-reload"]
    assert [finding.verdict for finding in unit(context)] == [Verdict.OK]


def test_a_failed_service_fails_and_is_not_restarted(context: CheckContext, systemd: FakeSystemctl) -> None:
    systemd.set("active", "failed")
    findings = list(unit(context))
    assert [finding.verdict for finding in findings] == [Verdict.FAIL]
    assert "journalctl -u learnd" in findings[0].hint
    assert list(fixed(findings, tell=lambda _: None)) == []
    assert systemd.changes == []


def test_a_service_that_does_not_start_with_the_machine_is_warned_of(
    context: CheckContext, systemd: FakeSystemctl
) -> None:
    systemd.set("enabled", "disabled")
    (finding,) = unit(context)
    assert (finding.verdict, finding.hint) == (Verdict.WARN, "systemctl enable learnd")


def test_a_folder_without_a_service_has_nothing_to_check(tmp_path: Path) -> None:
    assert list(unit(context_of(tmp_path / "data", None))) == []


def test_the_unit_of_a_user_is_checked_for_the_folder_that_it_runs_on(tmp_path: Path) -> None:
    places = places_of(Scope.USER)
    places.unit.parent.mkdir(parents=True)
    places.unit.write_text(unit_text(UnitOptions(scope=Scope.USER, program=Path("/x/bin/learnd"))))
    assert [finding.check for finding in unit(context_of(places.data, None))] == ["unit"]
    assert list(unit(context_of(tmp_path / "other", None))) == []
