from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from memory.connection import StoreConnection
from memory.errors import MemoryStoreError, StoreBusyError, StoreMissingError
from memory.folder import DataFolder
from memory.records import CurveMetric
from memory.store import Store
from tests.memory.making import add_active_family, make_step, make_tensors, publish_next


def read_all(store: Store) -> None:
    assert store.families.all()[0].totals.env_steps > 0
    store.curves.latest()
    store.curves.points("cartpole", CurveMetric.TRIAL_RETURN, limit=500)
    store.stats.memory_stats()
    store.initializations.current()
    store.jobs.summaries()
    store.jobs.schedule()
    store.counters.all()
    store.daemon_status.get()


def fill(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        add_active_family(store)
        store.learner_steps.commit(make_step(), make_tensors(), {})
        publish_next(store)


@pytest.fixture
def killed_writer(folder: DataFolder) -> None:
    """Leave a store whose writer was killed: it has a write-ahead log, and the database file is older."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.memory.writer", str(folder.path), "cartpole"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while "step 7" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_reader_works_with_the_writer_up_and_down(folder: DataFolder) -> None:
    fill(folder)
    with Store.open(folder, is_reader=True) as reader:
        read_all(reader)
    with Store.open(folder), Store.open(folder, is_reader=True) as reader:
        read_all(reader)


@pytest.mark.usefixtures("killed_writer")
def test_a_reader_sees_all_that_a_killed_writer_acknowledged(folder: DataFolder) -> None:
    with Store.open(folder, is_reader=True) as reader:
        read_all(reader)
        last = reader.checkpoints.live()
        assert last is not None
        assert last.learner_steps >= 7


def test_a_reader_changes_neither_the_database_nor_the_parameters(folder: DataFolder) -> None:
    fill(folder)

    def contents() -> dict[str, bytes]:
        paths = [folder.store_path, *folder.parameters_path.iterdir(), folder.ballast_path]
        return {str(path): path.read_bytes() for path in paths}

    before = contents()
    with Store.open(folder, is_reader=True) as reader:
        read_all(reader)
        assert reader.check() == []
    assert contents() == before


def test_a_reader_that_is_asked_to_write_refuses(folder: DataFolder) -> None:
    fill(folder)
    with Store.open(folder, is_reader=True) as reader, pytest.raises(MemoryStoreError, match="opened for reading only"):
        reader.counters.add("x", {})


def test_a_reader_of_a_missing_store_says_how_to_make_one(folder: DataFolder) -> None:
    with pytest.raises(StoreMissingError, match="learnd run"):
        Store.open(folder, is_reader=True)
    assert not folder.path.exists()


def test_a_read_that_runs_too_long_is_cut_short(folder: DataFolder) -> None:
    fill(folder)
    connection = StoreConnection(folder.store_path, is_reader=True, read_limit_s=0.2)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(StoreBusyError, match="time limit"):
        connection.rows(endless)
    with connection.snapshot(), pytest.raises(StoreBusyError, match="time limit"):
        connection.rows(endless)
    assert connection.value("SELECT count(*) FROM families") == 1
    connection.close()


def test_a_reader_pins_no_old_state_between_its_calls(folder: DataFolder) -> None:
    fill(folder)
    with Store.open(folder) as store, Store.open(folder, is_reader=True) as reader:
        for seed in range(30):
            store.learner_steps.commit(make_step(seed=seed, trials=8, steps=400), make_tensors(seed), {})
            read_all(reader)
        assert reader.stats.memory_stats().wal_bytes < 8 << 20


def test_several_threads_may_share_a_store(folder: DataFolder) -> None:
    errors: list[Exception] = []

    def use(store: Store, name: str) -> None:
        try:
            for _ in range(40):
                store.counters.add("shared", {"by": name})
                store.families.all()
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    with Store.open(folder) as store:
        threads = [threading.Thread(target=use, args=(store, str(number))) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert [counter.value for counter in store.counters.all()] == [40.0] * 4


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to read as another user")
@pytest.mark.usefixtures("killed_writer")
def test_a_reader_without_write_permission_still_reads_or_says_why(folder: DataFolder, tmp_path: Path) -> None:
    folder.path.chmod(0o755)
    for path in folder.path.iterdir():
        path.chmod(0o755 if path.is_dir() else 0o644)
    for part in [tmp_path, *tmp_path.parents]:
        if part.owner() == "root" and part != Path("/"):
            part.chmod(part.stat().st_mode | 0o055)
    program = (
        "import os, sys; from pathlib import Path; from memory.folder import DataFolder; import memory.store as m;"
        "os.setuid(65534);"
        "print(m.Store.open(DataFolder(Path(sys.argv[1])), is_reader=True).families.all()[0].name)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(folder.path)], capture_output=True, text=True, check=False
    )
    assert found.stdout == "cartpole\n", found.stderr


def test_opening_and_reading_the_status_takes_less_than_a_tenth_of_a_second_of_cpu(
    folder: DataFolder,
) -> None:
    fill(folder)
    durations = []
    for _ in range(5):
        started = time.thread_time()
        with Store.open(folder, is_reader=True) as reader:
            read_all(reader)
        durations.append(time.thread_time() - started)
    assert min(durations) < 0.1
