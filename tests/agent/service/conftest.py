"""A machine in a folder, with a fake systemctl on PATH and a fake interpreter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.service.places import Places, Scope, places_of
from agent.service.program import Program
from agent.service.systemctl import Systemctl
from tests.agent.service.fakes import FakePython, FakeSystemctl


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSystemctl:
    """Return the fake systemctl, which is found first."""
    fake = FakeSystemctl(tmp_path)
    monkeypatch.setenv("PATH", f"{fake.programs}{os.pathsep}{os.environ['PATH']}")
    return fake


@pytest.fixture
def python(tmp_path: Path) -> FakePython:
    """Return the fake interpreter."""
    return FakePython(tmp_path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root of a machine on which systemd runs."""
    root = tmp_path / "machine"
    (root / "run/systemd/system").mkdir(parents=True)
    return root


@pytest.fixture
def places(root: Path) -> Places:
    """Return the places of a system service."""
    return places_of(Scope.SYSTEM, root=root)


@pytest.fixture
def systemctl(places: Places, systemd: FakeSystemctl) -> Systemctl:
    """Return a caller of the fake systemctl."""
    assert systemd.programs.exists()
    return Systemctl(places)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a source of learnd."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "requirements.lock").write_text("numpy==2.4.1\npytest==9.1.0\ntorch==2.13.0\n")
    (source / "pyproject.toml").write_text('[project]\ndependencies = ["torch>=2.13", "numpy>=2.0"]\n')
    return source


@pytest.fixture
def program(places: Places, source: Path, python: FakePython) -> Program:
    """Return a program whose environment is made from the source."""
    folder = places.environment
    return Program(path=folder / "bin/learnd", source=source, environment=folder, interpreter=python.path)
