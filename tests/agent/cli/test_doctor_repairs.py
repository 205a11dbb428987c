from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.cli import doctor_service, doctor_storage
from agent.cli.doctor_findings import CheckContext, Finding, Repair, Verdict
from agent.cli.doctor_repairs import FixOutcome, fixed
from agent.config.loading import load_settings
from memory.folder import DataFolder
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.memory.damage import break_index

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


@contextmanager
def examined(folder: DataFolder, **overrides: Any) -> Iterator[CheckContext]:
    """Yield a context for the checks, with a store that is open for reading."""
    settings = load_settings(None, {"data_dir": folder.path, **overrides})
    with Store.open(folder, is_reader=True) as store:
        yield CheckContext(settings=settings, folder=folder, store=store, tell=lambda _: None)


def fix(findings: Iterator[Finding]) -> list[FixOutcome]:
    """Make the safe repairs of some findings, and return what became of each."""
    return [made.outcome for made in fixed(list(findings), tell=lambda _: None)]


def ok(findings: Iterator[Finding]) -> bool:
    return {finding.verdict for finding in findings} == {Verdict.OK}


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_a_folder_that_is_open_to_others_is_closed(filled: DataFolder, mode: int) -> None:
    with examined(filled) as context:
        filled.path.chmod(mode)
        assert fix(doctor_storage.data_folder(context)) == [FixOutcome.DONE]
        assert ok(doctor_storage.data_folder(context))
    assert stat.S_IMODE(filled.path.stat().st_mode) == 0o700


def test_missing_folders_are_made(filled: DataFolder) -> None:
    filled.path.chmod(0o700)
    filled.backups_path.rmdir()
    with examined(filled) as context:
        assert fix(doctor_storage.data_folder(context)) == [FixOutcome.DONE]
        assert ok(doctor_storage.data_folder(context))
    assert stat.S_IMODE(filled.backups_path.stat().st_mode) == 0o700


@as_root
def test_files_of_another_user_are_given_to_the_owner_of_the_folder(filled: DataFolder) -> None:
    path = filled.path / "store-id"
    os.chown(path, 4321, 1234)
    with examined(filled) as context:
        assert fix(doctor_storage.ownership(context)) == [FixOutcome.DONE]
        assert ok(doctor_storage.ownership(context))
    assert path.stat().st_uid == filled.path.stat().st_uid


@as_root
def test_a_file_with_a_second_name_is_not_given_away(filled: DataFolder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "shadow"
    elsewhere.write_text("of another user")
    os.chown(elsewhere, 4321, 1234)
    (filled.path / "linked").hardlink_to(elsewhere)
    with examined(filled) as context:
        fix(doctor_storage.ownership(context))
        assert not ok(doctor_storage.ownership(context))
    assert elsewhere.stat().st_uid == 4321


def test_files_that_their_owner_cannot_write_are_made_writable(filled: DataFolder) -> None:
    with examined(filled) as context:
        (filled.path / "learnd.db").chmod(0o400)
        filled.parameters_path.chmod(0o500)
        assert fix(doctor_storage.ownership(context)) == [FixOutcome.DONE]
        assert ok(doctor_storage.ownership(context))


def test_unfinished_files_and_a_missing_ballast_are_settled(filled: DataFolder) -> None:
    partial = filled.parameters_path / ".abc.1.ff.tmp"
    partial.write_bytes(b"half")
    os.utime(partial, (time.time() - 7200,) * 2)
    filled.release_ballast()
    with examined(filled) as context:
        assert fix(doctor_storage.leftovers(context)) == [FixOutcome.DONE]
        assert fix(doctor_storage.leftovers(context)) == [FixOutcome.DONE]
        assert ok(doctor_storage.leftovers(context))
    assert not partial.exists()
    assert filled.ballast_path.exists()


def test_while_learnd_runs_unfinished_files_are_left_to_prune(filled: DataFolder) -> None:
    partial = filled.parameters_path / ".abc.1.ff.tmp"
    partial.write_bytes(b"half")
    os.utime(partial, (time.time() - 7200,) * 2)
    with examined(filled) as context, filled.hold("learner"):
        (finding,) = doctor_storage.leftovers(context)
        assert fix(iter([finding])) == []
    assert finding.repair is not None
    assert finding.repair.command == "learnd schedule run-now prune"


def test_a_damaged_index_is_rebuilt(learnd: Learnd, filled: DataFolder) -> None:
    filled.path.chmod(0o700)
    break_index(Store.open(filled), filled)
    assert learnd.json("doctor", code=1)["verdict"] == "fail"
    answer = learnd.json("doctor", "--fix")
    assert answer["fixes"] == [
        {
            "check": "store",
            "what": "rebuild indexes and counts from the rows",
            "command": "learnd doctor --fix",
            "outcome": "done",
            "detail": "",
        }
    ]
    assert answer["verdict"] != "fail"


def test_a_damaged_file_is_left_to_a_person(learnd: Learnd, filled: DataFolder) -> None:
    stored = next(filled.parameters_path.glob("*.safetensors"))
    stored.write_bytes(b"")
    answer = learnd.json("doctor", "--fix", code=1)
    failed = next(check for check in answer["checks"] if check["verdict"] == "fail")
    assert failed["repair"]["command"] == "learnd doctor --repair"
    assert failed["repair"]["is_safe"] is False
    assert stored.exists()


@pytest.mark.parametrize(("is_own", "outcomes"), [(True, [FixOutcome.DONE]), (False, [])])
@as_root
def test_a_token_is_closed_to_others_if_the_service_can_still_read_it(
    filled: DataFolder, tmp_path: Path, is_own: bool, outcomes: list[FixOutcome]
) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse-battery-staple\n")
    token.chmod(0o640)
    if not is_own:
        os.chown(token, 4321, filled.path.stat().st_gid)
    with examined(filled, service={"listen": "127.0.0.1:0", "token_file": str(token)}) as context:
        assert fix(doctor_service.address(context)) == outcomes
    assert (stat.S_IMODE(token.stat().st_mode) == 0o600) == is_own


def test_doctor_says_what_it_fixed_and_checks_again(learnd: Learnd, filled: DataFolder) -> None:
    filled.path.chmod(0o777)
    listed = learnd("doctor", code=1).stdout
    assert f"repair: chmod 700 {filled.path} (learnd doctor --fix does it)" in listed
    told = learnd("doctor", "--fix").stdout
    assert f"fixed: close the data folder to other users (chmod 700 {filled.path})" in told
    assert "(mode 0700)" in told
    assert "fixed: nothing" in learnd("doctor", "--fix").stdout


def test_a_repair_that_fails_is_told_and_the_others_are_made() -> None:
    def refuse() -> None:
        raise PermissionError(1, "Operation not permitted")

    made: list[str] = []
    repairs = (
        Repair(what="one", command="one", run=refuse),
        Repair(what="two", command="two", run=lambda: made.append("two")),
        Repair(what="three", command="three"),
    )
    findings = [Finding(check="x", verdict=Verdict.WARN, found="", repair=repair) for repair in repairs]
    fixes = list(fixed([*findings, findings[1]], tell=lambda _: None))
    assert [(fix.command, fix.outcome) for fix in fixes] == [("one", FixOutcome.FAILED), ("two", FixOutcome.DONE)]
    assert fixes[0].detail == "Operation not permitted"
    assert made == ["two"]


def test_looking_fixes_nothing(learnd: Learnd, filled: DataFolder) -> None:
    filled.path.chmod(0o755)
    learnd("doctor")
    assert stat.S_IMODE(filled.path.stat().st_mode) == 0o755


def test_every_problem_with_a_command_in_its_hint_has_a_repair(learnd: Learnd, filled: DataFolder) -> None:
    filled.path.chmod(0o777)
    filled.release_ballast()
    for check in learnd.json("doctor", code=1)["checks"]:
        if "chmod" in check["hint"] or "`learnd" in check["hint"]:
            assert check["repair"] is not None, check
