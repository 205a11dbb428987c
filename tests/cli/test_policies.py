from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from memory.folder import DataFolder
from memory.store import Store
from tests.cli.conftest import Learnd


def test_versions_are_listed_newest_first(learnd: Learnd) -> None:
    versions = learnd.json("policy", "list")["versions"]
    assert [version["version"] for version in versions] == [2, 1]
    assert [version["is_current"] for version in versions] == [True, False]
    assert versions[0]["parent"] == 1
    assert {score["family"] for score in versions[0]["scores"]} >= {"bandits", "cartpole"}


def test_a_version_is_shown_by_number_or_as_the_one_served(learnd: Learnd) -> None:
    assert learnd.json("policy", "show")["version"] == 2
    assert learnd.json("policy", "show", "1")["version"] == 1
    assert learnd.json("policy", "show", "v1")["provenance"]["round"] == 4
    assert "replaced version" in learnd("policy", "show").stdout


def test_an_unknown_version_lists_those_there_are(learnd: Learnd) -> None:
    error = learnd.json("policy", "show", "7", code=1)["error"]
    assert error["hint"] == "There is 1, 2."


def test_rolling_back_serves_the_parent_again(learnd: Learnd) -> None:
    answer = learnd.json("policy", "rollback", "--reason", "worse here")
    assert (answer["rolled_back"], answer["current"]["version"]) == (2, 1)
    assert learnd.json("status")["policy_version"] == 1
    states = {version["version"]: version["state"] for version in learnd.json("policy", "list")["versions"]}
    assert states == {1: "published", 2: "rolled_back"}


def test_there_is_nothing_to_roll_back_to_from_the_first(learnd: Learnd) -> None:
    learnd("policy", "rollback")
    assert "error" in learnd.json("policy", "rollback", code=1)


def test_rolling_back_to_what_is_served_is_refused(learnd: Learnd) -> None:
    assert "served now" in learnd.json("policy", "rollback", "2", code=1)["error"]["found"]


def test_an_exported_version_carries_its_checksum(learnd: Learnd, tmp_path: Path) -> None:
    file = tmp_path / "policy.safetensors"
    answer = learnd.json("policy", "export", "1", str(file))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert answer["sha256"] == digest
    assert (tmp_path / "policy.safetensors.sha256").read_text() == f"{digest}  policy.safetensors\n"
    assert load_file(file)["w"].tolist() == [4.0] * 8


def test_a_damaged_version_is_not_exported(learnd: Learnd, filled: DataFolder, tmp_path: Path) -> None:
    with Store.open(filled, is_reader=True) as store:
        sha256 = store.initialization(1).file.sha256
    stored = filled.parameters_path / f"{sha256}.safetensors"
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    file = tmp_path / "policy.safetensors"
    assert sha256 in learnd.json("policy", "export", "1", str(file), code=1)["error"]["subject"]
    assert not file.exists()


def test_exporting_to_a_folder_that_is_not_there_is_an_error(learnd: Learnd, tmp_path: Path) -> None:
    assert "error" in learnd.json("policy", "export", "1", str(tmp_path / "no" / "policy.safetensors"), code=1)


@pytest.mark.parametrize("words", [("eval", "9"), ("eval", "--family", "nope")])
def test_scoring_what_is_not_there_is_refused(words: tuple[str, ...], learnd: Learnd) -> None:
    assert "error" in learnd.json("policy", *words, code=1)
