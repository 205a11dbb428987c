"""Tests of the command line in separate processes: its imports, its stop on signals, its use of processor cores."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from memory.folder import DataFolder

HEAVY = ("torch", "matplotlib", "stable_baselines3", "gymnasium", "plotext", "starlette", "structlog")
WHAT_IS_LOADED = """
import json, sys
from agent.cli.main import main
try:
    main()
except SystemExit as end:
    code = end.code or 0
print(json.dumps({"code": code, "loaded": [name for name in %r if name in sys.modules]}), file=sys.stderr)
"""


def _heed_ctrl_c() -> None:
    """Restore the default handling of SIGINT, which shells ignore in background processes such as the tests."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def learnd(folder: Path, *arguments: str, **settings: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "agent.cli", "--data-dir", str(folder), *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_ctrl_c,  # noqa: PLW1509  These tests have one thread.
        **settings,
    )


def loaded_by(folder: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", WHAT_IS_LOADED % (HEAVY,), "--data-dir", str(folder), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    report = json.loads(ended.stderr.splitlines()[-1])
    assert report["code"] == 0, ended.stderr
    return list(report["loaded"])


def test_status_loads_nothing_heavy(filled: DataFolder) -> None:
    assert loaded_by(filled.path, "status") == []
    assert loaded_by(filled.path, "status", "--json") == []


def test_other_commands_load_only_what_they_need(filled: DataFolder, tmp_path: Path) -> None:
    assert loaded_by(filled.path, "env", "pause", "cartpole") == []
    assert loaded_by(filled.path, "policy", "list") == []
    assert loaded_by(filled.path, "curves") == ["plotext"]
    assert loaded_by(filled.path, "curves", "--png", str(tmp_path / "curves.png")) == ["matplotlib"]
    assert "torch" not in loaded_by(filled.path, "env", "add", "CartPole-v1", "--name", "other", "--no-check")


def test_status_is_there_at_once(filled: DataFolder) -> None:
    def cpu_s() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = learnd(filled.path, "status", "--json")
        process.communicate(timeout=60)
        assert process.returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu_s() for _ in range(3)) < 0.8, "0.3 s on an idle core; a busy neighbour takes its cache"


def test_a_reader_that_goes_away_ends_it_quietly(filled: DataFolder) -> None:
    process = learnd(filled.path, "config", "show", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors


def test_a_reader_that_takes_one_line_ends_a_table_quietly(filled: DataFolder) -> None:
    command = f"{sys.executable} -m agent.cli --data-dir {filled.path} schedule list --runs 500 | head -n 1"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


def test_ctrl_c_ends_watching_quietly(filled: DataFolder) -> None:
    process = learnd(filled.path, "status", "--watch", "--every", "0.1", "--json")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert first["state"] == "stopped"
    assert all(json.loads(line)["state"] == "stopped" for line in rest.splitlines())
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_a_second_service_on_a_folder_is_refused(filled: DataFolder) -> None:
    with filled.hold():
        process = learnd(filled.path, "run", "--listen", "127.0.0.1:0", "--for", "1", "--json")
        answer, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert json.loads(answer)["exit_code"] == 3
    assert str(os.getpid()) in errors


def test_a_length_of_time_that_is_none_is_a_usage_error(filled: DataFolder) -> None:
    process = learnd(filled.path, "run", "--for", "soon")
    answer, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert answer == ""
    assert "soon" in errors


def test_errors_in_json_mode_are_the_only_thing_on_stdout(filled: DataFolder) -> None:
    process = learnd(filled.path, "env", "show", "nope", "--json")
    answer, errors = process.communicate(timeout=60)
    assert set(json.loads(answer)) == {"error"}
    assert errors == ""
    assert process.returncode == 1


def test_a_service_that_has_stopped_ends_its_process_without_the_interpreters_teardown(tmp_path: Path) -> None:
    marker = tmp_path / "torn-down"
    exit_handler = f"import atexit, pathlib; atexit.register(pathlib.Path({str(marker)!r}).touch)"
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nif 'run' in sys.orig_argv:\n    {exit_handler}\n")
    arguments = ["run", "--for", "1", "--listen", "127.0.0.1:0", "--json", "--data-dir", str(tmp_path / "data")]
    ended = subprocess.run(
        [sys.executable, "-m", "agent.cli", *arguments],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, json.loads(ended.stdout)["state"]) == (0, "stopped")
    assert '"stopped"' in ended.stderr
    assert not marker.exists()
