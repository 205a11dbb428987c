"""`learnd env add FILE.toml` and `learnd env export` are inverse, and broken files are reported."""

from __future__ import annotations

from pathlib import Path

from memory.folder import DataFolder
from memory.store import Store
from tests.agent.cli.conftest import Learnd


def test_a_family_that_is_exported_and_added_again_is_the_same(empty: Learnd, tmp_path: Path) -> None:
    vary = ("--vary", "actions", "--vary", "gravity=8:9", "--kwarg", "render_mode=none")
    added = empty.json("env", "add", "CartPole-v1", "--max-steps", "30", "--wrap", "FlattenObservation", *vary)
    file = tmp_path / "again.toml"
    file.write_text(empty("env", "export", "cartpole").stdout)
    assert empty.json("env", "export", "cartpole") == {"family": "cartpole", "toml": file.read_text()}
    empty("env", "remove", "cartpole", "--yes")
    again = empty.json("env", "add", str(file))
    assert again["family"]["spec"] == added["family"]["spec"]
    assert again["family"]["state"] == "active"


def test_a_file_is_added_under_another_name(empty: Learnd, tmp_path: Path) -> None:
    (tmp_path / "pole.toml").write_text('entry = "CartPole-v1"\n')
    answer = empty.json("env", "add", str(tmp_path / "pole.toml"), "--name", "other", "--no-check")
    assert answer["family"]["name"] == "other"


def test_a_file_of_another_editor_is_read(empty: Learnd, tmp_path: Path) -> None:
    file = tmp_path / "pole.toml"
    file.write_bytes(b'\xef\xbb\xbfentry = "CartPole-v1"\r\nepisodes = 2\r\n')
    assert empty.json("env", "add", str(file), "--no-check")["family"]["spec"]["episodes_per_trial"] == 2


def test_a_file_declares_the_family_alone(empty: Learnd, tmp_path: Path) -> None:
    (tmp_path / "pole.toml").write_text('entry = "CartPole-v1"\n')
    error = empty.json("env", "add", str(tmp_path / "pole.toml"), "--episodes", "3", code=1)["error"]
    assert error["found"] == "--episodes does not apply: the file declares the family."


def test_a_broken_file_is_refused_with_its_line(empty: Learnd, tmp_path: Path) -> None:
    (tmp_path / "pole.toml").write_text('entry = "CartPole-v1"\nepisods = 3\n')
    error = empty.json("env", "add", str(tmp_path / "pole.toml"), code=1)["error"]
    assert error["found"].startswith("line 2: 'episods' is not a key")
    missing = empty.json("env", "add", str(tmp_path / "none.toml"), code=1)["error"]
    assert missing["found"] == "No such file or directory."


def test_doctor_names_broken_files_of_the_watched_folder(empty: Learnd) -> None:
    empty("env", "add", "CartPole-v1", "--no-check")
    folder = empty.folder / "env.d"
    folder.mkdir()
    (folder / "good.toml").write_text('entry = "CartPole-v1"\n')
    assert _finding(empty)["found"] == "1 in the watched folders"
    (folder / "bad.toml").write_text('entry = "CartPole-v1"\n\nepisodes = many\n')
    finding = _finding(empty)
    assert finding["verdict"] == "warn"
    assert f"{folder / 'bad.toml'}: line 3: it is not TOML" in finding["found"]


def _finding(learnd: Learnd) -> dict[str, str]:
    [finding] = [check for check in learnd.json("doctor")["checks"] if check["check"] == "family files"]
    return finding


def test_status_names_broken_files_while_the_daemon_runs(learnd: Learnd, filled: DataFolder) -> None:
    problem = {"file": "/env.d/bad.toml", "found": "line 3: it is not TOML"}
    with filled.hold("control") as held, Store.open(filled) as store:
        store.daemon_status.set({"state": "running", "pid": held.folder.holder_pid(), "family_files": [problem]})
        assert learnd.json("status")["family_files"] == [problem]
        assert "! /env.d/bad.toml: line 3: it is not TOML" in learnd("status").stdout
    assert learnd.json("status")["family_files"] == [], "a stopped daemon watches nothing"
