"""Commands of root and of other users find the system service: its settings, its data folder, its address."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import Result

from agent.cli.doctor_settings import closed_path, unreadable_settings
from agent.cli.entry import plain_status_folder
from agent.config.system_service import SystemService
from memory.folder import DataFolder

NOBODY = 65534
Caller = Callable[..., Result]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Return the root of a machine on which the system service is installed."""
    root = tmp_path / "machine"
    for folder in ("etc/systemd/system", "etc/learnd", "var/lib"):
        (root / folder).mkdir(parents=True)
    (root / "etc/systemd/system/learnd.service").write_text("[Service]\n")
    (root / "etc/learnd/learnd.toml").write_text('[service]\nlisten = "127.0.0.1:9555"\n')
    return root


@pytest.fixture
def with_data(machine: Path, filled: DataFolder) -> Path:
    """Return the data folder of the system service."""
    return Path(shutil.copytree(filled.path, machine / "var/lib/learnd"))


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that installs a systemctl which answers with the given properties."""

    def install(properties: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "systemctl"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{properties}\nEND\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.fixture
def answering() -> Iterator[int]:
    """Serve the health of a learnd, and yield its port."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ok", "reasons": []}')

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def settings_of(call: Caller, *options: str) -> dict[str, object]:
    """Return the value of every setting that `config show` answers."""
    result = call(*options, "config", "show", "--json")
    assert result.exit_code == 0, result.stdout
    answer = json.loads(result.stdout)
    return {"file": answer["file"], **{row["key"]: row["value"] for row in answer["settings"]}}


def test_a_user_without_settings_and_data_is_shown_those_of_the_service(call: Caller, machine: Path) -> None:
    shown = settings_of(call)
    assert shown["file"] == str(machine / "etc/learnd/learnd.toml")
    assert shown["service.listen"] == "127.0.0.1:9555"
    assert shown["data_dir"] == str(machine / "var/lib/learnd")
    result = call("config", "check")
    assert str(machine / "etc/learnd/learnd.toml") in result.stdout


def test_the_folder_of_the_service_is_enough_to_mean_the_service(call: Caller, machine: Path) -> None:
    (machine / "var/lib/private/learnd").mkdir(parents=True)
    (machine / "var/lib/learnd").symlink_to("private/learnd")
    for folder in ("var/lib/learnd", "var/lib/private/learnd"):
        shown = settings_of(call, "--data-dir", str(machine / folder))
        assert shown["service.listen"] == "127.0.0.1:9555"
    assert settings_of(call, "--data-dir", str(machine / "srv"))["service.listen"] == "127.0.0.1:9464"


def test_variables_of_the_unit_count_and_are_named(
    call: Caller, machine: Path, systemctl: Callable[[str], None]
) -> None:
    systemctl(
        'Environment=HOME=/x LEARND_LEARNER__SEED=3 "LEARND_PRACTISE__WINDOWS=22:00-06:00, 12:00-13:00"\nMainPID=0'
    )
    shown = settings_of(call)
    assert shown["learner.seed"] == 3
    assert shown["practise.windows"] == ["22:00-06:00", "12:00-13:00"]
    (machine / "etc/learnd/learnd.toml").write_text("[learner]\nsed = 1\n")
    assert "Did you mean learner.seed?" in call("config", "check").stderr


def test_a_wrong_variable_of_the_unit_is_refused_with_the_unit(
    call: Caller, machine: Path, systemctl: Callable[[str], None]
) -> None:
    assert machine.exists()
    systemctl("Environment=LEARND_LEARNER__SEED=many")
    result = call("config", "check")
    assert result.exit_code == 1
    assert "variable LEARND_LEARNER__SEED of learnd.service" in " ".join(result.stderr.split())


@pytest.mark.parametrize("own", ["file", "store", "option", "variable"])
def test_settings_or_data_of_the_user_go_first(
    call: Caller, machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    assert machine.exists()
    file = tmp_path / "config" / "learnd" / "learnd.toml"
    file.parent.mkdir(parents=True)
    if own == "store":
        (tmp_path / "state" / "learnd").mkdir(parents=True)
        (tmp_path / "state" / "learnd" / "learnd.db").touch()
    else:
        file.write_text("")
    options = ["--config", str(file)] if own == "option" else []
    if own == "variable":
        monkeypatch.setenv("LEARND_CONFIG", str(file))
    assert settings_of(call, *options)["service.listen"] == "127.0.0.1:9464"


def test_status_and_doctor_of_root_are_those_of_the_service(
    call: Caller, with_data: Path, systemctl: Callable[[str], None]
) -> None:
    systemctl("User=root")
    status = json.loads(call("status", "--json").stdout)
    assert status["data_dir"] == str(with_data)
    assert len(status["families"]) == 6
    checks = {check["check"]: check for check in json.loads(call("doctor", "--json").stdout)["checks"]}
    assert "learnd.toml (of " in checks["settings"]["found"]
    assert str(with_data) in checks["data folder"]["found"]


def test_the_quick_way_leaves_the_service_to_the_whole_one(tmp_path: Path) -> None:
    assert plain_status_folder(["status", "--json"]) is None
    (tmp_path / "state" / "learnd").mkdir(parents=True)
    (tmp_path / "state" / "learnd" / "learnd.db").touch()
    assert plain_status_folder(["status", "--json"]) == tmp_path / "state" / "learnd"


@pytest.mark.parametrize("command", [("status",), ("status", "--json"), ("env", "list"), ("status", "--watch")])
def test_a_folder_without_data_beside_a_running_service_is_an_error_that_names_the_service(
    call: Caller, monkeypatch: pytest.MonkeyPatch, answering: int, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("LEARND_SERVICE__LISTEN", f"127.0.0.1:{answering}")
    result = call(*command)
    assert result.exit_code == 1
    told = " ".join((result.stdout + result.stderr).split())
    assert f"A running learnd answers at http://127.0.0.1:{answering}/ and is healthy." in told
    assert "--data-dir" in told


def test_a_user_who_may_not_read_the_folder_is_told_the_address(
    call: Caller, with_data: Path, monkeypatch: pytest.MonkeyPatch, answering: int
) -> None:
    monkeypatch.setenv("LEARND_SERVICE__LISTEN", f"127.0.0.1:{answering}")
    with_data.chmod(0)
    if os.geteuid() == 0:
        for folder in with_data.parents:
            if folder.name not in {"", "tmp"}:
                folder.chmod(0o755)
        with_data.chmod(0o700)
        call("status")  # loads every module while they can be read
        os.seteuid(NOBODY)
    try:
        result = call("status")
    finally:
        os.seteuid(os.getuid())
        with_data.chmod(0o700)
    assert result.exit_code == 1
    told = " ".join(result.stderr.split())
    assert "this user may not use the data folder of the system service" in told
    assert f"A running learnd answers at http://127.0.0.1:{answering}/ and is healthy." in told
    assert f"Every user may run: learnd status --url http://127.0.0.1:{answering}/" in told


def test_a_settings_file_that_the_user_of_the_service_cannot_read_is_a_failed_check(
    call: Caller, with_data: Path, machine: Path
) -> None:
    assert with_data.exists()
    file = machine / "etc/learnd/learnd.toml"
    file.chmod(0o600)
    checks = {check["check"]: check for check in json.loads(call("doctor", "--json").stdout)["checks"]}
    assert checks["settings"]["verdict"] == "fail"
    assert "a dynamic user, cannot read" in checks["settings"]["found"]
    assert checks["settings"]["hint"].startswith("chmod o+r")


def test_owner_group_and_others_are_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    file = folder / "learnd.toml"
    file.touch()
    me, mine = os.getuid(), file.stat().st_gid
    for path in [tmp_path, *tmp_path.parents][:-1]:
        if path.stat().st_uid == me and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    file.chmod(0o640)
    assert closed_path(file, uid=NOBODY) == file
    assert closed_path(file, uid=NOBODY, gids=[mine]) is None
    folder.chmod(0o700)
    assert closed_path(file, uid=NOBODY, gids=[mine]) == folder
    assert closed_path(file, uid=0) is None


def test_a_service_without_a_settings_file_has_nothing_to_read(tmp_path: Path) -> None:
    service = SystemService(
        unit=tmp_path / "learnd.service", settings_file=None, new_settings_file=tmp_path / "x", data_dir=tmp_path
    )
    assert unreadable_settings(service) is None
