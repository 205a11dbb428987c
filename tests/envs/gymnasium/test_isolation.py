"""Tests of the isolation of real workers: what their code can reach, and what it cannot."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envs.errors import WorkerFaultError
from envs.family import FamilySource, FamilySpec, Split
from envs.gymnasium.isolation_plan import MAX_OPEN_FILES
from envs.limits import WorkerLimits
from tests.envs.families import LIMITS, opened
from tests.envs.isolation_here import enforced, require
from tests.repository import ROOT

TELLS = """
import glob, hashlib, os, resource, shutil, socket, subprocess, sys, tempfile, threading
from pathlib import Path

import gymnasium
import numpy as np


def burn():
    while True:
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 100_000)


class Tells(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1e9, 1e9, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, does):
        self.does = does

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([float(eval(self.does))], np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, True, False, {}
"""
"""An environment whose first observation is the value of an expression."""

REFUSED = "PermissionError|FileNotFoundError|Read-only"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a data folder with a database."""
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "learnd.db").write_text("rows")
    return folder


@pytest.fixture
def outside() -> Iterator[Path]:
    """Return a folder that no worker may write to, as a user's home."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="outside-") as folder:
        yield Path(folder)


def telling(does: str, folder: Path, **settings: Any) -> FamilySpec:
    (folder / "teller.py").write_text(TELLS)
    return FamilySpec(
        name="teller",
        source=FamilySource.GYMNASIUM,
        entry="teller:Tells",
        kwargs={"does": does},
        import_paths=(str(folder),),
        **settings,
    )


def size_of(file: str) -> str:
    """Return an expression for the number of bytes that can be read from a file, 0 if it cannot be opened."""
    return f"len(open('{file}').read()) if os.access('{file}', os.R_OK) else 0"


def told(spec: FamilySpec, limits: WorkerLimits = LIMITS) -> float:
    """Return what the environment of a family tells."""
    with closing(opened(spec, 1, limits)) as tasks:
        return tasks.begin(0, split=Split.TRAINING).item()


def test_a_worker_can_neither_read_nor_write_the_data_folder(store: Path, tmp_path: Path) -> None:
    require("store")
    limits = replace(LIMITS, hidden=(str(store),))
    for does in (f"len(open('{store}/learnd.db').read())", f"open('{store}/new', 'w').write('x')"):
        with pytest.raises(WorkerFaultError, match=REFUSED):
            told(telling(does, tmp_path), limits)
    assert [path.name for path in store.iterdir()] == ["learnd.db"]


def test_a_worker_writes_into_the_folders_that_the_settings_name(outside: Path, tmp_path: Path) -> None:
    require("files")
    does = f"open('{outside}/kept', 'w').write('x')"
    with pytest.raises(WorkerFaultError, match=REFUSED):
        told(telling(does, tmp_path))
    assert told(telling(does, tmp_path), replace(LIMITS, writable=(str(outside),))) == 1
    assert (outside / "kept").read_text() == "x"


@pytest.mark.parametrize("name", ["MPLCONFIGDIR", "NUMBA_CACHE_DIR"])
def test_caches_of_libraries_are_in_the_workers_own_folder(name: str, tmp_path: Path) -> None:
    assert told(telling(f"open(os.environ['{name}'] + '/cache', 'w').write('x')", tmp_path)) == 1


def test_without_isolation_a_worker_reads_what_its_user_may_read(store: Path, tmp_path: Path) -> None:
    limits = replace(LIMITS, hidden=(str(store),), is_isolated=False)
    assert told(telling(f"len(open('{store}/learnd.db').read())", tmp_path), limits) == 4


def test_code_in_the_data_folder_runs_and_does_not_see_the_store(store: Path) -> None:
    require("store")
    limits = replace(LIMITS, hidden=(str(store),))
    code = store / "env.d"
    code.mkdir()
    (code / "levels.txt").write_text("levels")
    assert told(telling("len(open('levels.txt').read())", code), limits) == 6
    assert told(telling("len(Path(__file__).read_text()) > 0", code), limits) == 1
    with pytest.raises(WorkerFaultError, match=REFUSED):
        told(telling("len(open('../learnd.db').read())", code), limits)


def test_code_at_the_top_of_the_data_folder_runs_and_does_not_see_the_database(store: Path) -> None:
    require("store")
    limits = replace(LIMITS, hidden=(str(store),))
    assert told(telling("1", store), limits) == 1
    assert told(telling(size_of("learnd.db"), store), limits) == 0


def test_a_link_in_the_data_folder_does_not_lead_to_the_database(store: Path, outside: Path, tmp_path: Path) -> None:
    require("store")
    (store / "learnd.db").rename(outside / "learnd.db")
    (store / "learnd.db").symlink_to(outside / "learnd.db")
    limits = replace(LIMITS, hidden=(str(store),))
    assert told(telling(size_of(f"{outside}/learnd.db"), tmp_path), limits) == 0


def test_a_worker_writes_nothing_outside_of_its_own_folder(outside: Path, tmp_path: Path) -> None:
    require("files")
    (outside / "file").write_text("x")
    for does in (
        f"Path('{outside}/new').write_text('x')",
        f"Path('{outside}/file').write_text('changed')",
        f"Path('{outside}/file').unlink() is None",
        f"shutil.rmtree('{outside}') is None",
    ):
        with pytest.raises(WorkerFaultError, match=r"PermissionError.*a worker writes only below"):
            told(telling(does, tmp_path))
    assert (outside / "file").read_text() == "x"


def test_a_worker_has_a_folder_for_temporary_files_that_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    does = "Path(tempfile.mkdtemp(), 'file').write_text('four') + len(tempfile.gettempdir()) * 0"
    assert told(telling(does, tmp_path)) == 4
    assert list(temporary.iterdir()) == []


def test_a_worker_shares_the_machines_tmp_with_other_programs(outside: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        given, written = Path(folder, "given"), Path(folder, "written")
        given.write_text("four")
        assert told(telling(f"len(open('{given}').read())", outside)) == 4
        assert told(telling(f"Path('{written}').write_text('six777')", outside)) == 6
        assert written.read_text() == "six777"


def test_the_folder_of_a_worker_is_removed_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from tests.envs.families import opened\n"
        "from tests.envs.gymnasium.test_isolation import telling\n"
        f"tasks = opened(telling('1', Path({str(tmp_path)!r})), 1)\n"
        f"assert list(Path({str(temporary)!r}).iterdir())\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "TMPDIR": str(temporary)}, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while list(temporary.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(temporary.iterdir()) == []


def test_only_a_family_that_asks_for_the_network_has_it(tmp_path: Path) -> None:
    require("network")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        does = f"socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5).fileno() > 0"
        with pytest.raises(WorkerFaultError, match=r"ConnectionRefusedError.*without --network|PermissionError"):
            told(telling(does, tmp_path))
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
        server.setblocking(True)
        assert told(telling(does, tmp_path, network=True)) == 1
        server.accept()[0].close()


def test_processes_of_a_worker_without_network_can_talk_over_their_own_loopback(tmp_path: Path) -> None:
    require("network")
    connect = "socket.create_connection(server.getsockname(), 5).send(b'x')"
    does = f"(lambda server: [server.bind(('127.0.0.1', 0)), server.listen(), {connect}])(socket.socket())[2]"
    if enforced()["network"] != "namespace":
        pytest.skip("the kernel gives workers no network of their own")
    assert told(telling(does, tmp_path)) == 1


def test_a_worker_inherits_no_descriptor_beyond_its_own(tmp_path: Path) -> None:
    names = "{os.readlink(path) for path in glob.glob('/proc/self/fd/*') if os.path.islink(path)}"
    does = f"len([name for name in {names} if 'inherited' in name])"
    with (tmp_path / "inherited").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        assert told(telling(does, tmp_path)) == 0
    own = 3 + 3 + 1  # the standard streams, two pipes and the shared memory, and the folder that is listed
    assert told(telling("len(os.listdir('/proc/self/fd'))", tmp_path)) <= own


def test_a_worker_cannot_signal_the_process_that_started_it(tmp_path: Path) -> None:
    require("signals")
    with pytest.raises(WorkerFaultError, match="PermissionError"):
        told(telling(f"os.kill({os.getpid()}, 0) is None", tmp_path))


def test_a_worker_reads_other_files_and_starts_programs(tmp_path: Path) -> None:
    assert told(telling("len(open('/proc/self/status').read()) > 0", tmp_path)) == 1
    assert told(telling("int(subprocess.check_output(['/bin/sh', '-c', 'echo 42']))", tmp_path)) == 42


def test_shared_memory_and_pools_of_processes_work(tmp_path: Path) -> None:
    does = "sum(__import__('multiprocessing').get_context('fork').Pool(2).map(abs, [-1, -2, -3]))"
    assert told(telling(does, tmp_path)) == 6


def test_a_file_has_a_largest_size(tmp_path: Path) -> None:
    limits = replace(LIMITS, disk_mib=8, memory_mib=400)
    does = "os.ftruncate(os.open(tempfile.mktemp(), os.O_RDWR | os.O_CREAT), 500 << 20) is None"
    with pytest.raises(WorkerFaultError, match="File too large"):
        told(telling(does, tmp_path), limits)
    assert told(telling("resource.getrlimit(resource.RLIMIT_CORE)[1]", tmp_path)) == 0
    most = max(MAX_OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    assert told(telling("resource.getrlimit(resource.RLIMIT_NOFILE)[1]", tmp_path)) <= most


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core")
def test_a_worker_that_takes_more_than_its_share_of_cores_is_moved_to_its_share(tmp_path: Path) -> None:
    does = "[threading.Thread(target=burn, daemon=True).start() for _ in range(4)] is None"
    with closing(opened(telling(does, tmp_path), 1, replace(LIMITS, num_cores=1))) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        deadline = time.monotonic() + 60
        threads = [int(path.name) for path in Path(f"/proc/{tasks.pid}/task").iterdir()]
        while any(len(os.sched_getaffinity(thread)) > 1 for thread in threads) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert len(threads) > 4
        assert {len(os.sched_getaffinity(thread)) for thread in threads} == {1}
        assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {19}


def test_families_of_older_versions_have_the_network_and_new_ones_do_not(tmp_path: Path) -> None:
    spec = telling("1", tmp_path)
    assert not spec.network
    assert FamilySpec.from_json(spec.to_json()) == spec
    old = {name: value for name, value in spec.to_json().items() if name != "network"}
    assert FamilySpec.from_json(old).network
