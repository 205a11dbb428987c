"""Log lines with text of environments, in both formats, and forwarded lines of another process."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator

import pytest
import structlog

from agent.config.settings import Settings
from agent.logs import configure_logs, forward_line
from agent.output.streams import NoteStream
from tests.agent.cli.hostile import HOSTILE, hidden_characters


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Return the log lines of hostile text in one format, on a stderr with encoding latin-1."""

    def lines(log_format: str) -> list[str]:
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stderr", NoteStream(written, encoding="latin-1", errors="backslashreplace"))
        configure_logs(Settings(service={"log_format": log_format}), process="learner")
        log = structlog.get_logger("agent.test")
        log.warning("family fault", family=HOSTILE, detail=HOSTILE, code="\x1b[31m", values=[HOSTILE])
        log.warning(HOSTILE)
        logging.getLogger("another.library").error("said %s", HOSTILE)
        log.error("job failed", exc_info=ValueError(HOSTILE))
        sys.stderr.flush()
        text = written.getvalue().decode("latin-1")
        assert not hidden_characters(text)
        return text.splitlines()

    return lines


def test_each_event_is_one_visible_line_of_the_console(logged: Callable[[str], list[str]]) -> None:
    lines = logged("console")
    events = [line for line in lines if not line.startswith("    ")]
    assert len(events) == 4
    assert all("[" in line[:60] for line in events), "each begins with its time and level"
    assert r"\x1b[31m" in events[0]
    assert r"\\x1b" not in events[0], "escaped once"


def test_each_event_is_one_json_object(logged: Callable[[str], list[str]]) -> None:
    events = [json.loads(line) for line in logged("json")]
    assert len(events) == 4
    assert events[0]["detail"] == HOSTILE
    assert HOSTILE in events[3]["exception"]


def test_a_line_of_another_process_is_passed_on_as_visible_text(capsys: pytest.CaptureFixture[str]) -> None:
    forward_line(b"caf\xe9 \x1b]0;title\x07 \xc2\x9b31m\n")
    assert capsys.readouterr().err == "caf\N{REPLACEMENT CHARACTER} \\x1b]0;title\\x07 \\x9b31m\n"
