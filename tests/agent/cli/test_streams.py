"""Tests of standard streams that are closed, full or without a reader, in separate processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from memory.folder import DataFolder

LOST = "error: writing to stdout: "
COMMANDS = ("status", "status --json", "--version", "--help", "curves --csv", "env pause cartpole --json")
CLOSED = {">&-": "Bad file descriptor.", ">/dev/full": "No space left on device."}


def shell(
    folder: DataFolder, command: str, redirection: str = "", **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``learnd`` in a shell that closes and redirects streams. The exit status is that of ``learnd``."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m agent.cli {command} {redirection}"],
        env={**os.environ, "LEARND_DATA_DIR": str(folder.path), **variables},
        capture_output=True,
        check=False,
        timeout=60,
    )


def _is_slow(command: str) -> bool:
    return command not in {"status", "status --json"}


WITH_SLOW = [pytest.param(name, marks=pytest.mark.slow if _is_slow(name) else ()) for name in COMMANDS]


@pytest.mark.parametrize("redirection", CLOSED)
@pytest.mark.parametrize("command", WITH_SLOW)
def test_an_answer_that_is_lost_ends_with_1_and_one_line(command: str, redirection: str, filled: DataFolder) -> None:
    ended = shell(filled, command, redirection)
    assert ended.returncode == 1
    assert ended.stderr.decode() == f"{LOST}{CLOSED[redirection]}\n"


@pytest.mark.parametrize("command", WITH_SLOW)
def test_a_reader_that_has_gone_away_ends_it_without_a_word(command: str, filled: DataFolder) -> None:
    ended = shell(filled, command, "| true")
    assert ended.returncode in {0, 1}, "0 where all was written before the reader ended"
    assert ended.stderr == b""


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&-"])
def test_other_streams_may_be_closed_or_full(redirection: str, filled: DataFolder) -> None:
    ended = shell(filled, "env list --json", redirection)
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["families"]


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", ">&- 2>&-"])
def test_an_error_keeps_its_exit_status_where_nobody_can_be_told(redirection: str, filled: DataFolder) -> None:
    assert shell(filled, "no-such-command", redirection).returncode == 2


def test_a_closed_stdout_is_never_a_file_of_the_service(filled: DataFolder) -> None:
    program = (
        "import os; from agent.output.streams import prepare_streams; prepare_streams();"
        "taken = os.open('/dev/zero', os.O_RDONLY); os._exit(0 if taken > 2 else 3)"
    )
    command = f'{sys.executable} -c "{program}" <&- >&- 2>&-'
    assert subprocess.run(["bash", "-c", command], check=False, timeout=60).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["", ">&-", "2>&-", "2>/dev/full", "<&- >&- 2>&-"])
@pytest.mark.parametrize("log_format", ["console", "json"])
def test_the_service_runs_whatever_its_streams_are(redirection: str, log_format: str, filled: DataFolder) -> None:
    variables = {
        "LEARND_SERVICE__LISTEN": "127.0.0.1:0",
        "LEARND_SERVICE__LOG_FORMAT": log_format,
        "PYTHONIOENCODING": "latin-1",
    }
    ended = shell(filled, "run --for 3", redirection, **variables)
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stderr, ended.stderr.decode()


@pytest.mark.parametrize("variables", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
@pytest.mark.parametrize("command", ["status", "doctor"])
def test_the_locale_c_is_enough(command: str, variables: dict[str, str], filled: DataFolder) -> None:
    ended = shell(filled, command, **variables)
    assert b"Traceback" not in ended.stderr, ended.stderr.decode()
    ended.stdout.decode("ascii")


def test_a_traceback_is_visible_text(filled: DataFolder) -> None:
    program = "from agent.output.streams import prepare_streams; prepare_streams(); raise ValueError('a\\x1b[31mb')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60)
    assert ended.stderr.endswith(rb"ValueError: a\x1b[31mb" + b"\n")
