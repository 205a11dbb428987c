"""A daemon stops if its data folder is lost, and none starts on parts of a lost store. Real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memory.connection import StoreConnection
from memory.folder import DataFolder
from memory.records import JobKind
from memory.store import Store
from tests.agent.daemon.daemon_process import QUICK, ROOT, DaemonProcess, until
from tests.command_line import run_command

BUSY = QUICK + '[jobs]\nprune = "1s"\nbackup = "1s"\n'
SEVERAL_LOOKS_S = 10.0


def remove(path: Path) -> None:
    if path.is_dir():
        path.rename(path.with_name(f".{path.name}-gone"))
        shutil.rmtree(path.with_name(f".{path.name}-gone"))
    else:
        path.unlink()


def rename(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}-away"))


def replace(path: Path) -> None:
    rename(path)
    away = path.with_name(f"{path.name}-away")
    if away.is_dir():
        path.mkdir(mode=0o700)
    else:
        shutil.copy(away, path)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def names_in(path: Path) -> set[str]:
    return {found.name for found in path.iterdir()}


def losses(service: DaemonProcess) -> list[dict[str, Any]]:
    return [line for line in service.events() if line.get("event") == "data folder is lost: stopping"]


def ended(service: DaemonProcess) -> int:
    """Wait until a service exits; return its exit status."""
    return service.process.wait(timeout=SEVERAL_LOOKS_S)


CHANGES: list[tuple[str, Callable[[Path], None], str]] = [
    ("", remove, "removed"),
    ("control.lock", remove, "removed"),
    ("learnd.db", replace, "replaced"),
    ("learnd.db-wal", remove, "removed"),
]
MORE_CHANGES: list[tuple[str, Callable[[Path], None], str]] = [
    ("", rename, "removed"),
    ("", replace, "replaced"),
    ("control.lock", replace, "replaced"),
    ("learner.lock", remove, "removed"),
    ("learnd.db", remove, "removed"),
    ("learnd.db", empty, "emptied"),
    ("learnd.db-shm", remove, "removed"),
    ("parameters", remove, "removed"),
]


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [*CHANGES, *(pytest.param(*change, marks=pytest.mark.slow) for change in MORE_CHANGES)],
)
def test_it_stops_with_the_reason_and_makes_nothing_anew(
    tmp_path: Path, name: str, change: Callable[[Path], None], found: str
) -> None:
    with DaemonProcess(tmp_path / "data", config=BUSY) as service:
        learner = service.learner_pid()
        until(lambda: service.metric("learnd_trials_total", family="bandits"), "practice goes on")
        path = tmp_path / "data" / name
        change(path)
        assert ended(service) == 5
        (loss,) = losses(service)
        assert str(path) in loss["error"]
        assert f"it was {found}" in loss["error"]
        assert not Path(f"/proc/{learner}").exists()
        if found == "removed":
            assert not path.exists()
        if change is replace and not name:
            assert [entry.name for entry in path.iterdir() if entry.name not in {"ballast"}] == []


def test_it_stops_when_the_database_is_overwritten_in_place_with_that_of_another_store(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as service:
        service.stop()
    Store.open(DataFolder(tmp_path / "other")).close()
    with DaemonProcess(tmp_path / "data", config=BUSY) as service:
        service.learner_pid()
        with service.folder.store_path.open("r+b") as database:  # a copy would empty it first, which is another loss
            database.write((tmp_path / "other" / "learnd.db").read_bytes())
            database.truncate()
        assert ended(service) == 5
        (loss,) = losses(service)
        assert "it was overwritten" in loss["error"]


def test_what_was_acknowledged_survives_a_removed_log(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as service:
        trials = until(lambda: service.metric("learnd_trials_total", family="bandits"), "practice goes on")
        service.folder.wal_path.unlink()
        assert ended(service) == 5
        assert any("nothing is lost" in line.get("event", "") for line in service.events())
        with service.store() as store:
            assert store.families.get("bandits").totals.trials >= trials
            assert store.check() == []


def test_health_names_the_loss_until_the_log_is_saved(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as service:
        until(lambda: service.metric("learnd_trials_total", family="bandits"), "practice goes on")
        reader = StoreConnection(service.folder.store_path, is_reader=True)
        with reader.snapshot():  # the log cannot be emptied while a process reads it
            assert reader.value("SELECT count(*) FROM families") > 0
            service.folder.wal_path.unlink()
            until(lambda: losses(service), "the loss is noticed")
            status, reasons = service.health()
            assert status == 503
            assert any("learnd.db-wal" in reason["found"] for reason in reasons)
        reader.close()
        assert ended(service) == 5
        assert any("nothing is lost" in line.get("event", "") for line in service.events())


def test_a_second_daemon_does_not_start_or_kill_anything_after_the_lock_file_was_removed(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as first:
        learner = first.learner_pid()
        for pid in (first.process.pid, learner):  # so that they cannot detect the removal yet
            os.kill(pid, signal.SIGSTOP)
        first.folder.lock_path("control").unlink()
        first.folder.lock_path("learner").unlink()
        second = DaemonProcess(tmp_path / "data")
        assert second.process.wait(timeout=SEVERAL_LOOKS_S) == 3
        assert any(f"process {first.process.pid} holds it" in line.get("error", "") for line in second.events())
        assert Path(f"/proc/{learner}").exists()
        for pid in (learner, first.process.pid):
            os.kill(pid, signal.SIGCONT)
        assert ended(first) == 5
    with DaemonProcess(tmp_path / "data") as third:
        until(lambda: third.metric("learnd_trials_total", family="bandits"), "practice goes on")


def holder_of_the_learner_role(folder: DataFolder) -> subprocess.Popen[str]:
    program = (
        "import sys, time; from pathlib import Path; from memory.folder import DataFolder;"
        "held = DataFolder(Path(sys.argv[1])).hold('learner'); print('held', flush=True); time.sleep(120)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.slow
def test_a_learner_whose_daemon_lives_is_waited_for_and_not_killed(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    Store.open(folder).close()
    holder = holder_of_the_learner_role(folder)
    try:
        with DaemonProcess(folder.path) as service:
            waits = "another learner works on the data folder; waiting for its end"
            until(lambda: any(line.get("event") == waits for line in service.events()), "it waits")
            assert holder.poll() is None
            holder.kill()
            holder.wait()
            until(lambda: service.metric("learnd_trials_total", family="bandits"), "practice goes on")
    finally:
        holder.kill()
        holder.communicate()


STOPPED_GROUP = pytest.mark.xdist_group("stopped service")
"""The mark of tests on the folder of a service that was stopped, so that it practises once for all of them."""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data folder of a service that practised, made a backup and was stopped."""
    with DaemonProcess(tmp_path_factory.mktemp("stopped") / "data") as service:
        until(lambda: service.metric("learnd_trials_total", family="bandits"), "practice goes on")
        with service.store() as store:
            request = store.requests.add("run_job", {"job": JobKind.BACKUP.value, "family": None})
            until(lambda: store.requests.status(request).outcome == "succeeded", "a backup is made")
        service.stop()
    return service.folder.path


@pytest.fixture
def practised(stopped: Path, tmp_path: Path) -> DataFolder:
    """Return a copy of that folder."""
    shutil.copytree(stopped, tmp_path / "data")
    return DataFolder(tmp_path / "data")


def refused(folder: DataFolder, *options: str) -> str:
    """Start a service that must exit with status 5; return its error."""
    service = DaemonProcess(folder.path, options=options)
    assert service.process.wait(timeout=20) == 5, service.log_path.read_text()
    errors = [line["error"] for line in service.events() if line.get("event") == "data folder cannot be used"]
    return str(errors[-1])


def status_in_a_process(folder: DataFolder) -> str:
    """Run `learnd status --json`, which begins on a path of its own, as a process; return what it says."""
    answer = subprocess.run(
        [sys.executable, "-m", "agent.cli", "status", "--json", "--data-dir", str(folder.path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 1
    return answer.stdout + answer.stderr


@STOPPED_GROUP
@pytest.mark.parametrize("lose", [remove, empty])
def test_a_start_beside_a_lost_database_ends_and_the_backup_leads_back(
    practised: DataFolder, lose: Callable[[Path], None]
) -> None:
    lose(practised.store_path)
    files = names_in(practised.parameters_path)
    assert "learnd memory restore newest" in refused(practised)
    assert names_in(practised.parameters_path) >= files
    answers = [status_in_a_process(practised)]
    for arguments in (("status",), ("status", "--json"), ("env", "list"), ("memory", "stats"), ("schedule", "list")):
        answer = run_command(practised.path, *arguments)
        assert answer.exit_code == 1
        answers.append(answer.stdout + answer.stderr)
    for said in answers:
        assert "learnd memory restore newest" in said
        assert "no data yet" not in said
    checks = json.loads(run_command(practised.path, "doctor", "--json").stdout)["checks"]
    (store,) = [check for check in checks if check["check"] == "store"]
    assert store["verdict"] == "fail"
    assert "learnd memory restore newest" in store["hint"]
    restored = run_command(practised.path, "memory", "restore", "newest")
    assert restored.exit_code == 0, restored.stderr
    with DaemonProcess(practised.path) as service:
        assert service.metric("learnd_trials_total", family="bandits") > 0


@STOPPED_GROUP
def test_new_begins_a_store_in_the_place_of_a_lost_one_and_is_refused_for_an_intact_one(practised: DataFolder) -> None:
    assert "the folder has an intact store" in refused(practised, "--new")
    assert list(practised.path.glob("replaced-*")) == []
    practised.store_path.unlink()
    backups = names_in(practised.backups_path)
    with DaemonProcess(practised.path, options=["--new"], config=QUICK + '[jobs]\nbackup = "1s"\n') as service:
        (aside,) = practised.path.glob("replaced-*")
        assert any(str(aside) in line.get("set_aside", "") for line in service.events())
        assert (aside / "parameters").is_dir()
        until(lambda: service.metric("learnd_trials_total", family="bandits"), "practice goes on")
        assert names_in(practised.backups_path) >= backups


@STOPPED_GROUP
def test_the_database_of_another_store_is_refused(practised: DataFolder, tmp_path: Path) -> None:
    other = DataFolder(tmp_path / "other")
    Store.open(other).close()
    practised.store_path.write_bytes(other.store_path.read_bytes())
    assert "UUID" in refused(practised)
    checks = json.loads(run_command(practised.path, "doctor", "--json").stdout)["checks"]
    (identity,) = [check for check in checks if check["check"] == "store identity"]
    assert identity["verdict"] == "fail"
    assert "learnd memory restore newest" in identity["hint"]
    assert run_command(practised.path, "status").exit_code == 0


def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.path.mkdir()
    folder.path.chmod(0o777)
    assert f"chmod 700 {folder.path}" in refused(folder)
