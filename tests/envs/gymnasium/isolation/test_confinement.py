"""Tests of the parts that confine a process, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from envs.family import FamilySource, FamilySpec
from envs.gymnasium.isolation import landlock
from envs.gymnasium.isolation.cores import CoreShare, wanted_s
from envs.gymnasium.isolation.process_group import put_into_group, remove_group
from envs.gymnasium.isolation_plan import isolation_plan
from envs.gymnasium.working_folder import WorkingFolder, remove_folder
from envs.limits import WorkerLimits
from tests.envs.isolation_here import require
from tests.repository import ROOT

SPEC = FamilySpec(name="plain", source=FamilySource.GYMNASIUM, entry="CartPole-v1")

WITHOUT_NAMESPACES = """
import json, socket, sys
from envs.gymnasium.isolation import confinement, namespaces
namespaces.enter = lambda **wanted: 0
enforced = confinement.confine(json.loads(sys.argv[1]))
tried = {}
for expression in sys.argv[2:]:
    try:
        eval(expression)
        tried[expression] = "done"
    except OSError as error:
        tried[expression] = type(error).__name__
print(json.dumps([enforced, tried]))
"""

FORKS = """
import os, sys
sys.stdin.readline()
count = 0
try:
    for _ in range(20):
        if os.fork() == 0:
            sys.stdin.readline()
            os._exit(0)
        count += 1
except OSError:
    print(count)
"""


@pytest.fixture
def outside() -> Iterator[Path]:
    """Return a folder outside of ``/tmp``, with a store in it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="outside-") as folder:
        Path(folder, "store").mkdir()
        Path(folder, "store", "learnd.db").write_text("rows")
        Path(folder, "file").write_text("x")
        yield Path(folder)


def test_where_there_are_no_namespaces_landlock_hides_the_store_and_refuses_tcp(outside: Path) -> None:
    require("files")
    store, limits = outside / "store", WorkerLimits(hidden=(str(outside / "store"),))
    expected = {
        f"open('{store}/learnd.db')": "PermissionError",
        f"open('{store}/new', 'w')": "PermissionError",
        f"open('{outside}/file')": "done",
        f"open('{outside}/file', 'w')": "PermissionError",
        "open('/dev/null', 'w')": "done",
    }
    if landlock.version() >= landlock.NETWORK_ABI:
        expected["socket.create_connection(('127.0.0.1', 1), 2)"] = "PermissionError"
    with closing(WorkingFolder(SPEC)) as folder:
        expected[f"open('{folder.temporary}/new', 'w')"] = "done"
        plan = json.dumps(isolation_plan(SPEC, limits, folder))
        answer = subprocess.check_output([sys.executable, "-c", WITHOUT_NAMESPACES, plan, *expected], cwd=ROOT)
    enforced, tried = json.loads(answer)
    assert tried == expected
    assert enforced["store"] == "Landlock"
    assert not enforced["shared_memory"]


def test_around_a_path_is_everything_but_that_path_and_what_links_lead_to(tmp_path: Path) -> None:
    for name in ("home/me/store/inner", "home/me/code", "home/you", "usr"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "home/me/link").symlink_to(tmp_path / "home/me/store")
    allowed = landlock.around(str(tmp_path), [str(tmp_path / "home/me/store")])
    assert sorted(allowed) == [str(tmp_path / name) for name in ("home/me/code", "home/you", "usr")]
    assert landlock.around(str(tmp_path), []) == [str(tmp_path)]


def test_what_a_thread_wants_grows_while_it_runs() -> None:
    before = sum(wanted_s(os.getpid()).values())
    end_s = time.process_time() + 0.2  # the kernel counts at least every 10 ms
    while time.process_time() < end_s:
        pass
    assert sum(wanted_s(os.getpid()).values()) > before
    assert wanted_s(2**22 + 1) == {}


def test_a_share_of_all_cores_or_of_none_restricts_nothing() -> None:
    for num_cores in (0, len(os.sched_getaffinity(0))):
        share = CoreShare(num_cores)
        share.keep([os.getpid()], 0.0)
        share.keep([os.getpid()], 0.001)
        assert not share.is_restricted


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is limited by a control group")
def test_a_process_in_a_group_cannot_have_more_processes_than_its_limit() -> None:
    arguments = [sys.executable, "-c", FORKS]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True) as process:
        if not put_into_group(process.pid, 8):
            process.kill()
            pytest.skip("no control group can be made here")
        answer, _ = process.communicate("begin\n")
    assert int(answer) == 7
    remove_group(process.pid)


def test_code_in_the_data_folder_is_kept_and_the_rest_is_hidden(tmp_path: Path) -> None:
    code = tmp_path / "store" / "env.d"
    code.mkdir(parents=True)
    spec, limits = replace(SPEC, import_paths=(str(code),)), WorkerLimits(hidden=(str(tmp_path / "store"),))
    with closing(WorkingFolder(spec)) as folder:
        plan = isolation_plan(spec, limits, folder)
    assert plan["hidden"] == [str(tmp_path / "store")]
    assert str(code) in plan["kept"]


def test_a_data_folder_that_does_not_exist_hides_nothing(tmp_path: Path) -> None:
    with closing(WorkingFolder(SPEC)) as folder:
        assert isolation_plan(SPEC, WorkerLimits(hidden=(str(tmp_path / "none"),)), folder)["hidden"] == []


def test_a_folder_that_its_owner_may_not_read_is_removed_too(tmp_path: Path) -> None:
    closed = tmp_path / "own" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").touch()
    closed.chmod(0)
    remove_folder(str(tmp_path / "own"))
    assert list(tmp_path.iterdir()) == []
