from __future__ import annotations

import json
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memory.folder import DataFolder
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.cli.filled_store import spec_of
from tests.agent.cli.pages import serving

TOKEN = "correct-horse-battery-staple"


class Bundle:
    """A written bundle."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as archive:
            self.modes = {member.mode for member in archive.getmembers()}
            self.files = {
                member.name.partition("/")[2]: archive.extractfile(member).read().decode()  # type: ignore[union-attr]
                for member in archive.getmembers()
            }

    def json(self, name: str) -> Any:
        return json.loads(self.files[name])

    @property
    def errors(self) -> dict[str, str]:
        return {part["name"]: part["error"] for part in self.json("manifest.json")["parts"] if part["error"]}


@contextmanager
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Iterator[None]:
    """Put a journalctl on PATH that prints a text."""
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "journalctl"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    program.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        yield


def service_answering() -> AbstractContextManager[int]:
    """Serve every path with its own name and the header of authorization; the context is the port."""
    return serving(lambda path, headers: (200, f"{path} asked with {headers['authorization']}".encode()))


def bundle_of(learnd: Learnd, path: Path, *options: str) -> Bundle:
    learnd("doctor", "--bundle", str(path), *options)
    return Bundle(path)


def test_a_bundle_of_a_stopped_service_has_every_part_but_those_of_the_running_one(
    learnd: Learnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with journal(tmp_path, monkeypatch, "learnd[12]: ready"):
        bundle = bundle_of(learnd, tmp_path / "bundle.tar.gz")
    assert bundle.errors == {
        "health.json": "asking the service /healthz it does not run.",
        "metrics.txt": "asking the service /metrics it does not run.",
        "unit.txt": bundle.errors["unit.txt"],
    }
    assert bundle.json("versions.json")["packages"]["gymnasium"]
    assert "learner.seed" in bundle.json("settings.json")["settings"]
    assert len(bundle.json("status.json")["families"]) == 6
    assert bundle.json("doctor.json")["checks"]
    assert bundle.json("events.json")["events"]
    assert bundle.json("schedule.json")["jobs"] is not None
    assert bundle.json("memory.json")["episodes"] > 0
    assert bundle.json("service.json")["is_installed"] is False
    assert bundle.files["log.txt"] == "learnd[12]: ready\n"
    assert "look through it" in bundle.files["README.txt"]


def test_curves_of_every_family_are_in_it_as_json(learnd: Learnd, filled: DataFolder, tmp_path: Path) -> None:
    bundle = bundle_of(learnd, tmp_path / "bundle.tar.gz")
    with Store.open(filled, is_reader=True) as store:
        names = {family.name for family in store.families.all()}
    assert {name for name in bundle.files if name.startswith("curves/")} == {f"curves/{name}.json" for name in names}
    points = bundle.json("curves/cartpole.json")["curves"]["trial_return"][""]
    assert points[-1]["at"] >= points[0]["at"]
    assert points[0].keys() >= {"env_steps", "value", "learner_steps"}


def test_only_its_owner_may_read_it(learnd: Learnd, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    path.touch(mode=0o644)
    bundle = bundle_of(learnd, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert bundle.modes == {0o600}


def test_secrets_are_masked_in_every_part(
    learnd: Learnd, filled: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    settings = tmp_path / "learnd.toml"
    with service_answering() as port, journal(tmp_path, monkeypatch, f"GET /?t={TOKEN} PASSWORD=hunter2"):
        settings.write_text(
            f'[service]\nlisten = "127.0.0.1:{port}"\ntoken_file = "{token}"\n'
            '[memory]\nbackup_command = "PGPASSWORD=hunter2 push"\n'
        )
        with filled.hold("control"):
            bundle = bundle_of(learnd, tmp_path / "bundle.tar.gz", "--config", str(settings))
    assert bundle.files["metrics.txt"] == "/metrics asked with Bearer ***"
    assert bundle.json("settings.json")["settings"]["memory.backup_command"] == "PGPASSWORD=*** push"
    assert bundle.json("settings.json")["settings"]["service.token_file"] == str(token)
    assert "PGPASSWORD=***" in bundle.files["settings.toml"]
    assert "PASSWORD=***" in bundle.files["log.txt"]
    everything = "".join(bundle.files.values())
    assert TOKEN not in everything
    assert "hunter2" not in everything


def test_a_damaged_store_costs_only_its_parts(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "learnd")
    folder.create()
    folder.store_path.write_bytes(b"not a database at all" * 500)
    bundle = bundle_of(Learnd(folder.path), tmp_path / "bundle.tar.gz")
    assert {"status.json", "curves.json", "events.json", "memory.json"} <= bundle.errors.keys()
    assert all(bundle.errors.values())
    assert bundle.json("doctor.json")["verdict"] == "fail"
    assert bundle.json("settings.json")["settings"]


def test_a_missing_data_folder_costs_only_its_parts(empty: Learnd, tmp_path: Path) -> None:
    bundle = bundle_of(empty, tmp_path / "bundle.tar.gz")
    assert "curves.json" in bundle.errors
    assert bundle.json("versions.json")["python"]
    assert not empty.folder.exists()


def test_wrong_settings_are_in_it_with_what_is_wrong(learnd: Learnd, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[memory]\nmax_size = 'huge'\n")
    bundle = bundle_of(learnd, tmp_path / "bundle.tar.gz", "--config", str(file))
    assert "memory.max_size" in bundle.json("settings.json")["problems"][0]
    assert bundle.files["settings.toml"] == file.read_text()


def test_no_declaration_of_an_environment_is_in_it(learnd: Learnd, filled: DataFolder, tmp_path: Path) -> None:
    with Store.open(filled) as store:
        store.families.add(replace(spec_of("puzzles"), kwargs={"layout": "blueprint-77"}))
    bundle = bundle_of(learnd, tmp_path / "bundle.tar.gz")
    assert "curves/puzzles.json" in bundle.files
    everything = "".join(bundle.files.values())
    assert "blueprint-77" not in everything
    assert "gravity" not in everything, "the variation of the other families"


def test_the_answer_names_the_file_and_what_is_missing(learnd: Learnd, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    answer = learnd.json("doctor", "--bundle", str(path))
    assert answer["bundle"]["file"] == str(path)
    assert answer["bundle"]["size_bytes"] == path.stat().st_size
    parts = {part["name"]: part for part in answer["bundle"]["parts"]}
    assert parts["health.json"]["error"]
    assert parts["doctor.json"]["size_bytes"] > 0
    assert "without health.json: asking the service" in learnd("doctor", "--bundle", str(path)).stdout


@pytest.mark.parametrize("name", ["/dev/null", "folder", "link"])
def test_a_bundle_is_written_to_a_file_only(learnd: Learnd, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    error = learnd.json("doctor", "--bundle", str(tmp_path / name), code=1)["error"]
    assert error["operation"] == "writing the bundle"
