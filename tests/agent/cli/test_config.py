from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent.cli.conftest import Learnd


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my.toml"
    path.write_text('[jobs]\nevaluate = "5m"\n')
    return path


def test_show_has_every_setting_with_its_default(empty: Learnd, file: Path) -> None:
    answer = empty.json("config", "show", "--config", str(file))
    settings = {row["key"]: row for row in answer["settings"]}
    assert answer["file"] == str(file)
    assert (settings["jobs.evaluate"]["value"], settings["jobs.evaluate"]["default"]) == ("5m", "90s")
    assert settings["data_dir"]["value"] == str(empty.folder)
    assert all(row["description"] for row in answer["settings"])


def test_only_what_was_changed_can_be_shown(empty: Learnd, file: Path) -> None:
    answer = empty.json("config", "show", "--changed", "--config", str(file))
    assert {row["key"] for row in answer["settings"]} == {"jobs.evaluate", "data_dir"}


def test_variables_count_too(empty: Learnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARND_PRACTISE__SLICE_S", "7s")
    assert "7s" in empty("config", "show", "--changed").stdout


def test_a_good_file_is_ok(empty: Learnd, file: Path) -> None:
    answer = {"file": str(file), "is_usable": True, "problems": [], "warnings": []}
    assert empty.json("config", "check", str(file)) == answer
    assert "ok" in empty("config", "check", str(file)).stdout


def test_a_bad_file_names_key_value_and_what_is_allowed(empty: Learnd, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[jobs]\nevaluate = "sometimes"\n[servce]\nlisten = "x"\n')
    answer = empty.json("config", "check", str(path), code=1)
    assert answer["is_usable"] is False
    problems = {problem["key"]: problem for problem in answer["problems"]}
    assert problems["jobs.evaluate"]["value"] == "'sometimes'"
    assert "interval" in problems["jobs.evaluate"]["allowed"]
    assert "service" in problems["servce"]["allowed"]
    assert answer["error"]["operation"] == "reading the settings"
    assert "jobs.evaluate" in empty("config", "check", str(path), code=1).stderr


def test_check_accepts_a_removed_setting_with_a_warning(empty: Learnd, tmp_path: Path) -> None:
    path = tmp_path / "old.toml"
    path.write_text('[consolidation]\nouter_step = "maml"\n')
    answer = empty.json("config", "check", str(path))
    assert (answer["is_usable"], answer["problems"]) == (True, [])
    (warning,) = answer["warnings"]
    assert (warning["key"], warning["value"], warning["source"]) == ("consolidation.outer_step", "'maml'", str(path))
    assert "docs/lab/outer-steps.md" in warning["reason"]
    shown = " ".join(empty("config", "check", str(path)).stdout.split())
    assert "warning consolidation.outer_step = 'maml'" in shown
    assert "has no effect" in shown


def test_a_missing_file_is_said_so(empty: Learnd, tmp_path: Path) -> None:
    assert "no such file" in empty("config", "check", str(tmp_path / "none.toml"), code=1).stderr


def test_check_and_run_refuse_a_time_zone_that_there_is_not_alike(
    empty: Learnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Nowhere")
    answer = empty.json("config", "check", code=1)
    assert [problem["key"] for problem in answer["problems"]] == ["TZ"]
    checked, ran = empty("config", "check", code=1), empty("run", code=2)
    for answered in (checked, ran):
        assert "TZ = 'Europe/Nowhere'" in answered.stderr
        assert "Traceback" not in answered.stderr
    assert not empty.folder.exists()


def test_check_takes_a_posix_time_zone(empty: Learnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    assert "ok" in empty("config", "check").stdout
