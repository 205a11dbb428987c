"""Tests of a whole trainer process: it ends at once after the last commit and report, and imports no compiler."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from agent.messages import Finished, Job, Progress, Ready, Stop, parse_line, to_line
from envs.declaration import family_from_declaration
from memory.folder import DataFolder
from memory.records import JobKind, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import settings_for

SITE = """
import atexit, pathlib, sys

class Imports:
    def find_spec(self, name, path, target=None):
        if name in ("sympy", "torch._dynamo"):
            pathlib.Path({folder!r}, name).touch()

if "--channel-fd" in sys.orig_argv:
    atexit.register(lambda: pathlib.Path({folder!r}, "torn-down").touch())
    sys.meta_path.insert(0, Imports())
"""
"""A file in the folder says that the interpreter was torn down, or that a module was imported."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """An ended trainer process: its outcomes and what it left."""

    outcomes: list[JobOutcome | None]
    workers: list[psutil.Process]
    noted: Path
    data: DataFolder


pytestmark = pytest.mark.xdist_group("ended trainer")  # one process is started for both tests


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A trainer process that practised a family and was stopped."""
    folder = tmp_path_factory.mktemp("trainer")
    noted = folder / "noted"
    noted.mkdir()
    (folder / "sitecustomize.py").write_text(SITE.format(folder=str(noted)))
    data = DataFolder(folder / "store")
    with Store.open(data) as store:
        store.families.add(family_from_declaration("CartPole-v1", name="cartpole"))
    control, learner = socket.socketpair()
    settings = settings_for(data.path, practise={"slice_s": 0.01, "wait_s": 60.0}).model_dump_json()
    with control, control.makefile("rb") as lines, (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent.trainer", "--settings", settings, "--channel-fd", str(learner.fileno())],
            pass_fds=(learner.fileno(),),
            env=os.environ | {"PYTHONPATH": str(folder)},
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
    return Ended(outcomes=outcomes, workers=workers, noted=noted, data=data)


def test_a_stopped_trainer_has_committed_and_reported_and_skips_the_interpreters_teardown(ended: Ended) -> None:
    assert ended.outcomes == [None, JobOutcome.SUCCEEDED, JobOutcome.SUCCEEDED]
    assert ended.workers
    assert not any(worker.is_running() for worker in ended.workers)
    assert not (ended.noted / "torn-down").exists()
    assert ended.data.holder_pid("learner") is None
    with Store.open(ended.data) as store:
        assert store.families.get("cartpole").totals.meta_updates >= 1


def test_a_trainer_that_practises_imports_neither_torchs_compiler_nor_sympy(ended: Ended) -> None:
    assert ended.outcomes[-1] is JobOutcome.SUCCEEDED
    assert [path.name for path in ended.noted.iterdir()] == []
