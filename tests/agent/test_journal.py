"""Lines for the systemd journal begin with their priority; plain output of other processes cannot claim one."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.journal import is_journal, level_of_line, with_prefix
from tests.repository import ROOT

PROGRAM = """
import sys, threading, warnings
from agent.config.settings import Settings
from agent.logs import configure_logs, forward_line, log_uncaught
import structlog
configure_logs(Settings(service={"log_format": sys.argv[1], "log_level": "debug"}), process="control")
log_uncaught()
log = structlog.get_logger("agent.test")
log.debug("one"); log.info("two"); log.warning("three"); log.error("four", exc_info=ValueError("a\\nb"))
forward_line(b'{"event": "of the trainer", "level": "warning"}\\n')
forward_line(b"2026-11-29T01:00:00Z [error    ] of the trainer\\n")
forward_line(b"<0>print of an environment\\n")
warnings.warn("old\\nthing")
thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()
raise RuntimeError("at the\\nend")
"""


def journal_lines(tmp_path: Path, log_format: str) -> list[str]:
    """Return the lines that a process writes to a stderr that is the journal."""
    path = tmp_path / "journal"
    with path.open("wb") as stderr:
        found = os.fstat(stderr.fileno())
        environment = os.environ | {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        command = [sys.executable, "-c", PROGRAM, log_format]
        subprocess.run(command, stderr=stderr, env=environment, cwd=ROOT, check=False)
    return path.read_text().splitlines()


def test_every_event_is_one_line_with_its_priority(tmp_path: Path) -> None:
    lines = journal_lines(tmp_path, "auto")
    events = {json.loads(line[3:])["event"]: line[:3] for line in lines if line[3:4] == "{"}
    assert events == {
        "one": "<7>", "two": "<6>", "three": "<4>", "four": "<3>", "of the trainer": "<4>",
        next(event for event in events if "old" in event): "<4>", "uncaught error": "<2>",
    }  # fmt: skip
    plain = [line for line in lines if line[3:4] != "{"]
    assert plain == ["<3>2026-11-29T01:00:00Z [error    ] of the trainer", "<6><0>print of an environment"]
    uncaught = [json.loads(line[3:]) for line in lines if "uncaught error" in line]
    assert [event["error"] for event in uncaught] == [
        "ZeroDivisionError: division by zero",
        "RuntimeError: at the\nend",
    ]
    assert "Traceback" in uncaught[0]["exception"]


def test_every_line_of_an_event_in_columns_has_its_priority(tmp_path: Path) -> None:
    lines = journal_lines(tmp_path, "console")
    assert all(line[0] == "<" and line[1].isdigit() and line[2] == ">" for line in lines)
    assert [line[:3] for line in lines if "ValueError" in line] == ["<3>"]


def test_another_stream_is_not_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "log").open("w") as log:
        assert not is_journal(log)
        for text in ("", "x", "1:2", ":"):
            monkeypatch.setenv("JOURNAL_STREAM", text)
            assert not is_journal(log)
        found = os.fstat(log.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert is_journal(log)


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ('{"event": "x", "level": "error"}', "error"),
        ('{"level": "error"}', ""),
        ('{"event": "x", "level": ["error"]}', ""),
        ('{"event": "x", "level": "loud"}', ""),
        ("{broken", ""),
        ("Traceback (most recent call last):", ""),
        ("2026-11-29T01:00:00Z [warning  ] text", "warning"),
    ],
)
def test_the_level_of_a_line_is_read_in_both_formats(line: str, level: str) -> None:
    assert level_of_line(line) == level


def test_a_text_of_several_lines_has_the_priority_on_each() -> None:
    assert with_prefix("a\nb", "error") == "<3>a\n<3>b"
    assert with_prefix("a", logging.getLevelName(logging.CRITICAL).lower()) == "<2>a"


def test_wrong_settings_are_one_event_of_level_error(tmp_path: Path) -> None:
    file = tmp_path / "learnd.toml"
    file.write_text("[learner]\nsed = 1\n")
    path = tmp_path / "journal"
    with path.open("wb") as stderr:
        found = os.fstat(stderr.fileno())
        environment = os.environ | {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        command = [sys.executable, "-m", "agent.cli", "--config", str(file), "--data-dir", str(tmp_path / "d"), "run"]
        ended = subprocess.run(command, stderr=stderr, env=environment, cwd=ROOT, check=False)
    assert ended.returncode == 2
    (line,) = path.read_text().splitlines()
    assert line.startswith("<3>{")
    assert "Did you mean learner.seed?" in json.loads(line[3:])["problems"][0]
