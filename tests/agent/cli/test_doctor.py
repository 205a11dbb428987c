from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.cli import doctor_service, doctor_storage
from agent.cli.doctor_findings import CheckContext, Finding, Verdict
from agent.cli.doctor_isolation import described, isolation, of_others
from agent.config.loading import load_settings
from agent.config.system_service import SystemService
from memory.folder import DataFolder
from memory.records import FamilyState, JobKind, JobOutcome
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.cli.pages import serving


@contextmanager
def examined(folder: DataFolder, **overrides: Any) -> Iterator[CheckContext]:
    """Yield a context for the checks, with a store that is open for reading."""
    settings = load_settings(None, {"data_dir": folder.path, **overrides})
    with Store.open(folder, is_reader=True) as store:
        yield CheckContext(settings=settings, folder=folder, store=store, tell=lambda _: None)


def answering(status: int, text: bytes) -> AbstractContextManager[int]:
    """Serve a daemon's health page with the given status; the context is its port."""
    return serving(lambda _path, _headers: (status, text))


def verdicts(findings: Iterator[Finding]) -> dict[str, Verdict]:
    return {finding.check: finding.verdict for finding in findings}


def test_a_healthy_folder_passes_every_check(learnd: Learnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARND_SERVICE__LISTEN", "127.0.0.1:0")
    learnd.folder.chmod(0o700)
    answer = learnd.json("doctor")
    assert answer["verdict"] != "fail"
    names = {finding["check"] for finding in answer["checks"]}
    expected = {"settings", "python", "packages", "sqlite", "data folder", "free space", "lock", "leftovers", "address"}
    assert names >= expected | {"device", "schedule", "families", "size", "store"}
    assert set(answer["checks"][0]) == {"check", "verdict", "found", "hint", "details", "repair"}


def test_a_flipped_byte_fails_the_store(learnd: Learnd, filled: DataFolder) -> None:
    stored = next(filled.parameters_path.glob("*.safetensors"))
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    answer = learnd.json("doctor", code=1)
    failed = [finding for finding in answer["checks"] if finding["verdict"] == "fail"]
    assert stored.name in failed[0]["found"]
    assert failed[0]["hint"]


def test_a_store_that_is_no_database_fails_and_the_other_checks_go_on(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "learnd")
    folder.create()
    folder.store_path.write_bytes(b"not a database at all" * 500)
    answer = Learnd(folder.path).json("doctor", code=1)
    verdict_of = {finding["check"]: finding["verdict"] for finding in answer["checks"]}
    assert verdict_of["store"] == "fail"
    assert verdict_of["python"] == "ok"


def test_settings_that_cannot_be_used_fail_and_the_other_checks_go_on(learnd: Learnd, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[memory]\nmax_size = 'huge'\n")
    answer = learnd.json("doctor", "--config", str(file), code=1)
    assert answer["checks"][0]["verdict"] == "fail"
    assert "memory.max_size" in answer["checks"][0]["found"]
    assert len(answer["checks"]) > 8


def test_an_address_that_another_program_has_fails(filled: DataFolder) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with examined(filled, service={"listen": listen}) as context:
            (finding,) = doctor_service.address(context)
    assert (finding.verdict, finding.found) == (Verdict.FAIL, f"{listen}: it is in use")


def test_an_open_address_is_warned_of(filled: DataFolder) -> None:
    with examined(filled, service={"listen": "0.0.0.0:0"}) as context:
        assert [finding.verdict for finding in doctor_service.address(context)] == [Verdict.WARN, Verdict.OK]


def test_an_open_address_with_a_token_everywhere_is_good(filled: DataFolder, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse-battery-staple\n")
    token.chmod(0o600)
    service = {"listen": "0.0.0.0:0", "token_file": token, "protect_metrics": True}
    with examined(filled, service=service) as context:
        assert [finding.verdict for finding in doctor_service.address(context)] == [Verdict.OK, Verdict.OK]
    with examined(filled, service={**service, "protect_metrics": False}) as context:
        assert [finding.verdict for finding in doctor_service.address(context)] == [Verdict.WARN, Verdict.OK]


@pytest.mark.parametrize(
    ("content", "mode", "verdict"),
    [("short", 0o600, Verdict.FAIL), ("correct-horse-battery-staple", 0o644, Verdict.WARN)],
)
def test_a_token_file_that_is_no_secret_is_found(
    content: str, mode: int, verdict: Verdict, filled: DataFolder, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(content)
    token.chmod(mode)
    with examined(filled, service={"listen": "127.0.0.1:0", "token_file": token}) as context:
        first, *_ = doctor_service.address(context)
    assert first.verdict is verdict
    assert str(token) in first.found


@pytest.mark.parametrize(("status", "verdict"), [(200, Verdict.OK), (503, Verdict.FAIL)])
def test_a_daemon_is_asked_for_its_health(filled: DataFolder, status: int, verdict: Verdict) -> None:
    with answering(status, b"learner_crash_loop") as port, filled.hold():
        with Store.open(filled) as store:
            store.daemon_status.set({"state": "running", "pid": os.getpid(), "listen": f"127.0.0.1:{port}"})
        with examined(filled) as context:
            (finding,) = doctor_service.address(context)
    assert finding.verdict is verdict
    assert ("learner_crash_loop" in finding.found) == (status == 503)


def test_a_daemon_that_does_not_answer_fails(filled: DataFolder) -> None:
    with socket.socket() as freed:
        freed.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{freed.getsockname()[1]}"
    with filled.hold(), examined(filled, service={"listen": listen}) as context:
        (finding,) = doctor_service.address(context)
    assert finding.verdict is Verdict.FAIL


def test_a_learner_without_a_daemon_is_warned_of(filled: DataFolder) -> None:
    with filled.hold("learner"), examined(filled) as context:
        (finding,) = doctor_service.locks(context)
    assert finding.verdict is Verdict.WARN
    assert str(os.getpid()) in finding.found


def test_unfinished_files_are_warned_of_once_they_are_old(filled: DataFolder) -> None:
    partial = filled.parameters_path / ".abc.1.ff.tmp"
    partial.write_bytes(b"half")
    with examined(filled) as context:
        assert verdicts(doctor_storage.leftovers(context)) == {"leftovers": Verdict.OK}
        os.utime(partial, (time.time() - 7200,) * 2)
        assert verdicts(doctor_storage.leftovers(context)) == {"leftovers": Verdict.WARN}


def test_each_unfinished_file_is_warned_of_with_the_command_that_removes_it(filled: DataFolder) -> None:
    drill = filled.path / ".drill-abc.tmp"
    for path in (drill, filled.backups_path / ".2026.ff.tmp", filled.parameters_path / ".abc.1.ff.tmp"):
        path.mkdir()
        os.utime(path, (time.time() - 7200,) * 2)
    with examined(filled) as context:
        (finding,) = doctor_storage.leftovers(context)
    backup, prune = "learnd schedule run-now backup", "learnd schedule run-now prune"
    assert finding.hint == f"To remove them: {backup}; {prune}; rm -r {drill}."


def test_a_folder_that_others_can_enter_is_warned_of(filled: DataFolder) -> None:
    filled.path.chmod(0o755)
    with examined(filled) as context:
        (finding,) = doctor_storage.data_folder(context)
    assert finding.verdict is Verdict.WARN
    assert finding.hint == f"chmod 700 {filled.path}"


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_folder_that_others_can_write_to_fails(filled: DataFolder, mode: int) -> None:
    with examined(filled) as context:
        filled.path.chmod(mode)
        (finding,) = doctor_storage.data_folder(context)
    assert finding.verdict is Verdict.FAIL
    assert finding.hint == f"chmod 700 {filled.path}"


@pytest.mark.parametrize(
    ("content", "verdict"),
    [(None, Verdict.WARN), ("half", Verdict.WARN), ("6f9619ff-8b86-4d01-b42d-00cf4fc964ff", Verdict.FAIL)],
)
def test_a_database_of_another_store_fails(filled: DataFolder, content: str | None, verdict: Verdict) -> None:
    path = filled.path / "store-id"
    with examined(filled) as context:
        assert verdicts(doctor_storage.store_identity(context)) == {"store identity": Verdict.OK}
        path.unlink()
        if content is not None:
            path.write_text(content)
        (finding,) = doctor_storage.store_identity(context)
    assert finding.verdict is verdict
    assert ("learnd memory restore" in finding.hint) == (verdict is Verdict.FAIL)


@pytest.mark.parametrize("role", ["control", "learner"])
def test_a_removed_lock_file_of_a_running_process_fails(filled: DataFolder, role: str) -> None:
    with filled.hold(role), examined(filled) as context:
        filled.lock_path(role).unlink()
        (finding,) = doctor_service.locks(context)
    assert finding.verdict is Verdict.FAIL
    assert f"{role}.lock" in finding.found


def test_a_lost_database_fails_and_names_the_way_back(learnd: Learnd, filled: DataFolder) -> None:
    filled.store_path.write_bytes(b"")
    answer = learnd.json("doctor", code=1)
    (finding,) = [finding for finding in answer["checks"] if finding["check"] == "store"]
    assert finding["verdict"] == "fail"
    assert "learnd memory restore newest" in finding["hint"]


@pytest.mark.parametrize(
    "words", ["status", "env list", "memory stats", "schedule list", "policy list", "curves", "env add CartPole-v1"]
)
def test_no_command_takes_a_lost_store_for_a_new_one(learnd: Learnd, filled: DataFolder, words: str) -> None:
    filled.store_path.unlink()
    error = learnd.json(*words.split(), code=1)["error"]
    assert "learnd memory restore newest" in error["hint"]
    assert not filled.store_path.exists()


def test_a_job_that_fails_again_and_again_fails(filled: DataFolder) -> None:
    with Store.open(filled) as store:
        for _ in range(3):
            run = store.jobs.start(JobKind.EVALUATE, reason="due")
            store.jobs.finish(run, JobOutcome.FAILED, error="Traceback\nValueError: no")
    with examined(filled) as context:
        (finding,) = doctor_service.schedule(context)
    assert finding.verdict is Verdict.FAIL
    assert "ValueError: no" in finding.found


def test_a_job_in_arrears_is_warned_of_only_while_the_daemon_runs(filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.jobs.set_schedule(JobKind.EVALUATE, "interval:60", next_due_at=time.time() - 7200)
        store.jobs.set_schedule(JobKind.BACKUP, "cron:0 3 * * *", next_due_at=time.time() + 60)
    with examined(filled) as context:
        assert verdicts(doctor_service.schedule(context)) == {"schedule": Verdict.OK}
        with filled.hold():
            (finding,) = doctor_service.schedule(context)
    assert finding.found.startswith("evaluate was due 2 hours ago")


def test_runs_left_open_by_a_dead_daemon_are_warned_of(filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.jobs.start(JobKind.EVALUATE, reason="due")
    with examined(filled) as context:
        assert verdicts(doctor_service.schedule(context)) == {"schedule": Verdict.WARN}


def test_a_family_set_aside_is_warned_of_with_its_reason(filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.families.set_state("acrobot", FamilyState.REFUSED, reason="no such module")
    with examined(filled) as context:
        (finding,) = doctor_service.families(context)
    assert finding.verdict is Verdict.WARN
    assert "no such module" in finding.found


def test_a_store_beyond_its_limit_is_warned_of(filled: DataFolder) -> None:
    with examined(filled) as context:
        memory = context.settings.memory.model_copy(update={"max_size": 1024})
        small = replace(context, settings=context.settings.model_copy(update={"memory": memory}))
        assert verdicts(doctor_storage.store_size(small))["size"] is Verdict.WARN


def test_an_unreadable_folder_is_an_error_with_a_hint(learnd: Learnd) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    learnd.folder.chmod(0)
    try:
        assert "user that the daemon runs as" in learnd("status", code=1).stderr
    finally:
        learnd.folder.chmod(0o700)


def damage_an_episode(folder: DataFolder) -> None:
    with Store.open(folder) as store, store._connection.transaction("damaging an episode"):
        store._connection.execute("UPDATE episodes SET payload = zeroblob(length(payload)) WHERE id = 1")


def test_repair_mends_the_store_and_the_checks_follow(learnd: Learnd, filled: DataFolder) -> None:
    damage_an_episode(filled)
    assert learnd.json("doctor", code=1)["verdict"] == "fail"
    answer = learnd.json("doctor", "--repair")
    assert answer["repair"] == {
        "actions": ["dropped 1 damaged trials with their 2 episodes"],
        "needs_consent": "",
        "remaining": [],
    }
    assert answer["verdict"] != "fail"
    assert "repair" not in learnd.json("doctor")
    assert "repaired: nothing" in learnd("doctor", "--repair").stdout


def test_repair_asks_before_it_rolls_the_checkpoint_back(learnd: Learnd, filled: DataFolder) -> None:
    with Store.open(filled) as store:
        live = store.checkpoints.live()
    assert live is not None
    (filled.parameters_path / f"{live.file.sha256}.safetensors").write_bytes(b"")
    answer = learnd("doctor", "--repair", code=1).stdout
    assert "not done without --yes" in answer
    assert "learnd doctor --repair --yes" in answer
    assert "replaces the checkpoint" in learnd("doctor", "--repair", "--yes").stdout


def test_repair_is_refused_while_the_service_runs(learnd: Learnd, filled: DataFolder) -> None:
    with filled.hold("learner"):
        error = learnd.json("doctor", "--repair", code=1)["error"]
    assert str(os.getpid()) in error["found"]


def test_yes_without_repair_is_refused(learnd: Learnd) -> None:
    assert "--repair" in learnd.json("doctor", "--yes", code=1)["error"]["found"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
@pytest.mark.parametrize("name", ["learnd.db", "parameters", "control.lock", "store-id"])
def test_a_file_of_another_owner_fails_with_the_command_that_mends_it(filled: DataFolder, name: str) -> None:
    path = filled.path / name
    if not path.exists():
        path.touch(mode=0o600)
    os.chown(path, 4321, 1234)
    with examined(filled) as context:
        (finding,) = doctor_storage.ownership(context)
    assert finding.verdict is Verdict.FAIL
    assert name in finding.found
    assert finding.hint.endswith(f"chown -R 0:0 {filled.path}")


@pytest.mark.parametrize(("name", "mode"), [("learnd.db", 0o400), ("parameters", 0o500), ("control.lock", 0o000)])
def test_a_file_that_its_owner_cannot_write_fails(filled: DataFolder, name: str, mode: int) -> None:
    path = filled.path / name
    if not path.exists():
        path.touch()
    with examined(filled) as context:
        assert verdicts(doctor_storage.ownership(context)) == {"ownership": Verdict.OK}
        path.chmod(mode)
        (finding,) = doctor_storage.ownership(context)
        path.chmod(0o700)
    assert finding.verdict is Verdict.FAIL
    assert finding.hint.startswith("chmod")


def test_backups_from_the_future_are_warned_of(filled: DataFolder) -> None:
    with Store.open(filled, clock=lambda: 4e9) as store:
        store.back_up(keep=2)
    with examined(filled) as context:
        (finding,) = doctor_storage.backups(context)
    assert finding.verdict is Verdict.WARN
    assert "from the future" in finding.found


def test_a_newest_backup_that_is_not_clean_is_warned_of(filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.back_up(keep=2)
    with examined(filled) as context:
        assert verdicts(doctor_storage.backups(context)) == {"backups": Verdict.OK}
    damage_an_episode(filled)
    with Store.open(filled) as store:
        store.back_up(keep=2)
    with examined(filled) as context:
        (finding,) = doctor_storage.backups(context)
        assert [found.verdict for found in doctor_storage.known_damage(context)] == [Verdict.WARN]
    assert finding.verdict is Verdict.WARN


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_a_command_that_root_runs_leaves_its_files_to_the_owner(learnd: Learnd, filled: DataFolder) -> None:
    for path in (filled.path, *filled.path.rglob("*")):
        os.chown(path, 4321, 1234)
    learnd("env", "pause", "cartpole")
    with examined(filled) as context:
        assert verdicts(doctor_storage.ownership(context)) == {"ownership": Verdict.OK}


def test_the_isolation_of_workers_is_told_part_by_part(learnd: Learnd) -> None:
    found = next(check for check in learnd.json("doctor")["checks"] if check["check"] == "isolation")
    assert {"data folder", "other files", "network", "processes and threads"} <= found["details"].keys()
    missing = [name for name, text in found["details"].items() if text.startswith("NOT ENFORCED")]
    assert found["verdict"] == ("warn" if missing else "ok")
    assert all(name in found["found"] for name in missing)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_what_root_tries_is_said_to_hold_for_root_and_not_for_the_user_of_the_service(filled: DataFolder) -> None:
    service = SystemService(
        unit=Path("learnd.service"), settings_file=None, data_dir=filled.path, new_settings_file=Path("learnd.toml")
    )
    with examined(filled) as context:
        (own,) = isolation(context)
        os.chown(filled.path, 4321, 4321)
        assert "workers run as uid 4321" in of_others(context)
        said = of_others(replace(context, service=service))
    assert own.details["tried as"] == "root"
    assert "for root" in own.found
    assert "workers" not in own.found
    assert "workers of the service run as uid 4321 within its unit" in said


def test_what_the_kernel_does_not_enforce_is_named() -> None:
    enforced = {
        "store": "Landlock", "files": "Landlock, version 3", "network": "", "signals": False, "shared_memory": False,
        "processes": "", "capabilities": True,
    }  # fmt: skip
    details, missing = described(enforced)
    assert missing == ["network", "other processes", "shared memory", "processes and threads"]
    assert details["network"].startswith("NOT ENFORCED: ")
    assert details["data folder"] == "neither read nor written (by Landlock)"


def test_isolation_that_is_switched_off_is_a_warning(learnd: Learnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARND_WORKERS__ISOLATION", "off")
    found = next(check for check in learnd.json("doctor")["checks"] if check["check"] == "isolation")
    assert found["verdict"] == "warn"
