"""Tests of every command on a store with hostile text in every free text field, on terminals of several encodings."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

from memory.folder import DataFolder
from tests.agent.cli.commands import every_command
from tests.agent.cli.hostile import FORGED, HOSTILE, MARKUP, fill_with_hostile_text, hidden_characters
from tests.agent.cli.processes import enter
from tests.data_folders import copied

COMMANDS = every_command()
ENCODINGS = ["utf-8", "latin-1", "ascii", "cp1252"]
READING = {
    ("status",): 0,
    ("curves",): 0,
    ("curves", "acrobot", "--metric", "lent_score"): 0,
    ("doctor",): None,
    ("env", "list", "--all"): 0,
    ("env", "show", "bandits"): 0,
    ("env", "show", "cartpole"): 0,
    ("env", "show", "acrobot"): 0,
    ("policy", "list", "--all"): 0,
    ("policy", "show"): 0,
    ("memory", "stats"): 0,
    ("memory", "backups"): 0,
    ("schedule", "list"): 0,
    ("config", "show"): 0,
    ("config", "check"): 0,
    ("env", "pause", "acrobot", "--reason", MARKUP): 0,
    ("env", "resume", "bandits"): 0,
    ("env", "remove", "bandits", "--yes"): 0,
    ("env", "show", HOSTILE): 1,
    ("env", "reference", HOSTILE, "--return", "1"): 1,
    ("schedule", "run-now", HOSTILE): 1,
    ("policy", "show", HOSTILE): 1,
    ("policy", "eval", HOSTILE): 1,
    ("policy", "export", "1", f"missing/{HOSTILE}"): 1,
    ("policy", "rollback", "--reason", HOSTILE): 0,
    ("memory", "recognise", HOSTILE): 1,
    ("memory", "export", HOSTILE): 1,
    ("memory", "import", HOSTILE): 1,
    ("memory", "restore", HOSTILE): 1,
    ("config", "check", f"missing/{HOSTILE}"): 1,
    ("env", "add", HOSTILE): 1,
    ("env", "check", HOSTILE): 1,
    ("env", "export", HOSTILE): 1,
    ("policy", "watch", HOSTILE): 1,
    ("learn", HOSTILE, "--family", "sinusoids", "--budget", "1u"): 1,
    ("compare", HOSTILE, "--budget", "1u"): 1,
    ("few-shot", "predict", "--policy", HOSTILE, "--support", "missing", "--query", "missing"): 1,
    ("few-shot", "score", "--policy", HOSTILE, HOSTILE): 1,
    ("config", "set", HOSTILE, HOSTILE): 1,
    ("few-shot", "train", "--data", f"missing/{HOSTILE}", "--output", "out.safetensors"): 1,
    ("service", "status"): 0,
    ("service", "install", "--python", HOSTILE, "--dry-run"): 1,
    ("service", "uninstall", "--dry-run"): 0,
    ("run", "--listen", HOSTILE): 2,
    ("no-such-command", HOSTILE): 2,
    ("status", f"--{HOSTILE}"): 2,
    ("--version",): 0,
}
"""Command lines and their exit status (that of `doctor` depends on the machine). They cover all commands."""


@pytest.fixture(scope="module")
def hostile_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill_with_hostile_text(tmp_path_factory.mktemp("hostile") / "learnd").path


@pytest.fixture
def hostile(hostile_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataFolder:
    """Return a data folder with hostile text, which the environment variables name."""
    folder = copied(hostile_template, tmp_path / "learnd")
    for name, value in {"LEARND_DATA_DIR": str(folder.path), "LEARND_SERVICE__LISTEN": "127.0.0.1:0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return folder


def _called(words: tuple[str, ...]) -> str:
    return " ".join(word if word.isprintable() else "HOSTILE" for word in words)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("words", READING, ids=_called)
def test_foreign_text_is_shown_and_not_obeyed(words: tuple[str, ...], encoding: str, hostile: DataFolder) -> None:
    with hostile.hold():
        ended = enter(*words, encoding=encoding)
    text = (ended.stdout + ended.stderr).decode(encoding)
    assert "Traceback" not in text
    assert not hidden_characters(text)
    if READING[words] is not None:
        assert ended.code == READING[words], text
    assert FORGED not in text, "a message of several lines cannot look like lines of the page"


def test_every_command_is_among_those_tried() -> None:
    tried = {command for command in COMMANDS for words in READING if words[: len(command)] == command}
    assert set(COMMANDS) == tried


@pytest.mark.parametrize(
    "words",
    [("status",), ("env", "show", "bandits"), ("schedule", "list"), ("policy", "show")],
    ids=_called,
)
def test_markup_of_foreign_text_is_shown_letter_by_letter(
    words: tuple[str, ...], hostile: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    with hostile.hold():
        ended = enter(*words, encoding="utf-8")
    shown = MARKUP if words != ("schedule", "list") else "every row is whole"
    assert shown in ended.stdout.decode()


@pytest.mark.parametrize(
    ("words", "encoding"), [*((words, "ascii") for words in COMMANDS), *(((), encoding) for encoding in ENCODINGS)]
)
def test_help_is_shown_in_every_encoding(words: tuple[str, ...], encoding: str) -> None:
    ended = enter(*words, "--help", encoding=encoding)
    assert ended.code == 0
    assert b"Usage" in ended.stdout
    assert ended.stderr == b""


@pytest.mark.parametrize(
    "words", [words for words, code in READING.items() if code == 0 and words != ("--version",)], ids=_called
)
def test_json_is_whole_where_the_encoding_has_ascii_alone(words: tuple[str, ...], hostile: DataFolder) -> None:
    with hostile.hold():
        answer = json.loads(enter(*words, "--json", encoding="ascii").stdout.decode("ascii"))
    if words[:3] == ("env", "show", "cartpole"):
        assert answer["state_reason"] == HOSTILE.replace("\udc80", "\\udc80"), "nothing is lost but the surrogate"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_quick_answer_is_the_same_in_every_encoding(encoding: str, hostile: DataFolder) -> None:
    with hostile.hold():
        ended = enter("status", "--json", encoding=encoding)
    assert json.loads(ended.stdout.decode("ascii"))["health"]["reasons"] == [HOSTILE]


def test_plots_are_drawn_in_ascii_where_the_encoding_has_no_more(hostile: DataFolder) -> None:
    text = enter("curves", "acrobot", encoding="ascii").stdout.decode("ascii")
    plot = text.split("updates", 1)[1]
    assert "*" in plot
    assert "|" in plot
    assert not set("─│┌⠀") & set(enter("curves", "acrobot", encoding="latin-1").stdout.decode("latin-1"))


def _sources() -> dict[str, ast.Module]:
    folder = Path(sys.modules["agent.cli.main"].__file__ or "").parent
    return {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.py"))}


@pytest.mark.parametrize(("file", "tree"), _sources().items(), ids=list(_sources()))
def test_no_command_writes_style_into_strings(file: str, tree: ast.Module) -> None:
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not [text for text in strings if "[/" in text], "style is a Text (agent.cli.output.styled)"
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert "Console" not in names or file == "console.py", "commands print on agent.cli.console.PlainConsole"
    assert "escape" not in names or file == "invocation.py", "a PlainConsole reads no markup: there is none to escape"
