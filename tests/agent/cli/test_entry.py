"""The fast path of `status --json` gives the same answer as the full command line, and handles no other arguments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli import entry
from agent.cli.entry import plain_status_folder
from memory.folder import DataFolder

FOLDER = Path("/somewhere/else")


@pytest.fixture(autouse=True)
def _no_settings_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("CONFIGURATION_DIRECTORY", raising=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--json", "--data-dir", str(FOLDER)],
        ["--data-dir", str(FOLDER), "--json", "status"],
        ["--json", "status", "--data-dir", str(FOLDER)],
    ],
)
def test_a_plain_question_is_answered_quickly(arguments: list[str]) -> None:
    assert plain_status_folder(arguments) == FOLDER


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["status"],
        ["status", "--json", "--watch"],
        ["status", "--json", "--help"],
        ["status", "--json", "--data-dir"],
        ["status", "--json", "--config", "learnd.toml"],
        ["env", "list", "--json"],
    ],
)
def test_anything_else_goes_the_whole_way(arguments: list[str]) -> None:
    assert plain_status_folder(arguments) is None


def test_a_settings_file_goes_the_whole_way_unless_the_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "learnd.toml"
    file.write_text('data_dir = "/named/in/the/file"\n')
    monkeypatch.setenv("LEARND_CONFIG", str(file))
    assert plain_status_folder(["status", "--json"]) is None
    assert plain_status_folder(["status", "--json", "--data-dir", str(FOLDER)]) == FOLDER


@pytest.mark.parametrize("is_filled", [True, False])
def test_both_ways_answer_alike(is_filled: bool, filled: DataFolder, tmp_path: Path) -> None:
    folder = str(filled.path if is_filled else tmp_path / "nothing")
    quick, whole = (
        subprocess.run(
            [sys.executable, "-m", module, "status", "--json", "--data-dir", folder],
            capture_output=True,
            check=True,
        ).stdout
        for module in ("agent.cli.entry", "agent.cli.main")
    )
    assert bool(json.loads(quick)["families"]) is is_filled
    assert quick == whole


def test_the_quick_way_loads_neither_command_line_nor_records(filled: DataFolder) -> None:
    program = (
        "import sys; from agent.cli.entry import main; main();"
        "needless = {'typer', 'rich', 'pydantic', 'numpy', 'torch', 'dataclasses', 'inspect', 'memory.records'};"
        "assert not needless & sys.modules.keys(), needless & sys.modules.keys()"
    )
    command = [sys.executable, "-c", program, "status", "--json", "--data-dir", str(filled.path)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["families"]


def test_ctrl_c_while_it_loads_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_arguments: list[str]) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "_answers_quickly", interrupted)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130
