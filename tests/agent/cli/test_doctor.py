"""The command doctor: what it finds in a folder, and what its option --repair mends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from memory.folder import DataFolder
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.cli.examining import damage_an_episode


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


def test_an_unreadable_folder_is_an_error_with_a_hint(learnd: Learnd) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    learnd.folder.chmod(0)
    try:
        assert "user that the daemon runs as" in learnd("status", code=1).stderr
    finally:
        learnd.folder.chmod(0o700)


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
