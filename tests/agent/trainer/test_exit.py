"""Test that the trainer process ends at once after the last commit and report, and leaves no process behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from agent.messages import Finished, Job, Progress, Ready, Stop, parse_line, to_line
from envs.declaration import family_from_declaration
from memory.folder import DataFolder
from memory.records import JobKind, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import settings_for

AT_EXIT = """
import atexit, pathlib, sys
if "--channel-fd" in sys.orig_argv:
    atexit.register(lambda: pathlib.Path({marker!r}).touch())
"""


def test_a_stopped_learner_has_committed_and_reported_and_skips_the_interpreters_teardown(tmp_path: Path) -> None:
    marker = tmp_path / "torn-down"
    (tmp_path / "sitecustomize.py").write_text(AT_EXIT.format(marker=str(marker)))
    folder = DataFolder(tmp_path / "store")
    with Store.open(folder) as store:
        spec = family_from_declaration("CartPole-v1", name="cartpole")
        store.families.add(spec)
    control, learner = socket.socketpair()
    settings = settings_for(folder.path, practise={"slice_s": 0.01, "wait_s": 60.0}).model_dump_json()
    with control, control.makefile("rb") as lines, (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent.trainer", "--settings", settings, "--channel-fd", str(learner.fileno())],
            pass_fds=(learner.fileno(),),
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            stdout=log,
            stderr=log,
        )
        learner.close()
        outcomes = []
        workers: list[psutil.Process] = []
        for kind in (None, JobKind.ADMIT, JobKind.PRACTISE):
            if kind is not None:
                control.sendall(to_line(Job(run_id=1, kind=kind, family="cartpole", reason="test")))
            while isinstance(message := parse_line(lines.readline()), Progress):
                workers = psutil.Process(process.pid).children(recursive=True) or workers
            assert isinstance(message, Ready | Finished)
            outcomes.append(message.outcome if isinstance(message, Finished) else None)
        workers = psutil.Process(process.pid).children(recursive=True) or workers
        control.sendall(to_line(Stop()))
        assert process.wait(timeout=60) == 0
        assert lines.read() == b""
    assert outcomes == [None, JobOutcome.SUCCEEDED, JobOutcome.SUCCEEDED]
    assert workers
    assert not any(worker.is_running() for worker in workers)
    assert not marker.exists()
    assert folder.holder_pid("learner") is None
    with Store.open(folder) as store:
        assert store.families.get("cartpole").totals.meta_updates >= 1
