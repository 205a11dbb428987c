"""The installation from the source, by an interpreter that has no packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.service.fakes import FakePython, FakeSystemctl
from tests.repository import ROOT


def install(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the installation for a user, without the packages of this interpreter."""
    variables = {
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "PATH": f"{tmp_path / 'systemctl-bin'}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(
        [sys.executable, "-S", "-B", "-m", "agent.service", "--user", *options],
        cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def python(tmp_path: Path) -> FakePython:
    """Return the fake interpreter, on a machine with a fake systemctl whose manager runs."""
    FakeSystemctl(tmp_path)
    (tmp_path / "run/systemd/private").mkdir(parents=True)
    return FakePython(tmp_path)


def test_it_makes_the_environment_and_leaves_the_rest_to_the_learnd_in_it(tmp_path: Path, python: FakePython) -> None:
    ended = install(tmp_path, "--python", str(python.path), "--no-start")
    assert ended.returncode == 0, ended.stderr
    assert f"done       make the environment: {tmp_path}/.local/share/learnd/venv" in ended.stdout
    assert python.calls[-1].endswith(f"install --no-deps --force-reinstall {ROOT}")
    assert (tmp_path / ".local/share/learnd/venv/bin/learnd").exists()


def test_a_dry_run_names_the_command_that_follows(tmp_path: Path, python: FakePython) -> None:
    ended = install(tmp_path, "--python", str(python.path), "--dry-run")
    program = tmp_path / ".local/share/learnd/venv/bin/learnd"
    assert ended.stdout.splitlines()[-1] == f"Then: {program} service install --user --here"
    assert not (tmp_path / ".local").exists()


def test_a_running_service_is_stopped_first(tmp_path: Path, python: FakePython) -> None:
    (tmp_path / "systemctl-state/active").write_text("active")
    ended = install(tmp_path, "--python", str(python.path))
    assert "stop the service" in ended.stdout.splitlines()[1]
    assert (tmp_path / "systemctl-state/active").read_text().strip() == "inactive"


def test_without_systemd_nothing_is_begun(tmp_path: Path, python: FakePython) -> None:
    (tmp_path / "run/systemd/private").rmdir()
    ended = install(tmp_path, "--python", str(python.path))
    assert ended.returncode == 1
    assert "no systemd runs for this user" in ended.stderr
    assert python.calls == []
