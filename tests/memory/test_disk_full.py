from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memory.errors import StoreFullError
from memory.files.parameters import write_durably
from memory.folder import BALLAST_BYTES, DataFolder
from memory.records import PrunePolicy
from memory.store import Store
from tests.memory.damage import fill_last_bytes
from tests.memory.making import add_active_family, make_step, make_tensors, publish_next

DISK_BYTES = 40 << 20
FRUGAL = PrunePolicy(max_episode_bytes=200_000, max_episode_age_s=None, max_rejected=10, min_trials_per_family=2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder on a separate file system of 40 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "learnd-test", str(path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill_up(store: Store) -> int:
    """Commit until the disk is full; return the number of acknowledged learner steps."""
    for number in range(10_000):
        try:
            store.learner_steps.commit(make_step(trials=8, steps=1000, seed=number), make_tensors(number + 1), {})
        except StoreFullError:
            return number
    raise AssertionError("the disk did not fill up")


def test_a_full_disk_records_nothing_and_keeps_what_was_acknowledged(small_disk: Path) -> None:
    folder = DataFolder(small_disk / "learnd")
    with Store.open(folder) as store:
        add_active_family(store)
        acknowledged = fill_up(store)
        assert acknowledged > 10
        for _ in range(3):
            with pytest.raises(StoreFullError, match="prune") as refused:
                store.learner_steps.commit(make_step(trials=8, steps=1000), make_tensors(), {})
            assert refused.value.is_recoverable
        checkpoint = store.checkpoints.live()
        assert checkpoint is not None
        assert checkpoint.learner_steps == acknowledged
        assert store.families.get("cartpole").totals.env_steps == 160 * acknowledged
        assert store.checkpoints.load_parameters(checkpoint.file)["adam.step"] == acknowledged
        assert store.check() == []
        assert list(folder.parameters_path.glob(".*.tmp")) == []


def test_a_reader_reads_on_a_full_disk(small_disk: Path) -> None:
    folder = DataFolder(small_disk / "learnd")
    with Store.open(folder) as store:
        add_active_family(store)
        acknowledged = fill_up(store)
        with Store.open(folder, is_reader=True) as reader:
            assert reader.families.get("cartpole").totals.env_steps == 160 * acknowledged
            assert reader.stats.memory_stats().trials == 8 * acknowledged


def test_a_store_that_cannot_be_opened_on_a_full_disk_says_so(small_disk: Path) -> None:
    folder = DataFolder(small_disk / "learnd")
    with Store.open(folder) as store:
        add_active_family(store)
    fill_last_bytes(small_disk / "other")
    for is_reader in (True, False):
        with pytest.raises(StoreFullError, match="disk is full") as refused, Store.open(folder, is_reader=is_reader):
            pass
        assert "Free some room" in refused.value.hint


def test_prune_uses_the_ballast_on_a_full_disk_and_learning_goes_on(small_disk: Path) -> None:
    folder = DataFolder(small_disk / "learnd")
    with Store.open(folder) as store:
        add_active_family(store)
        acknowledged = fill_up(store)
        fill_last_bytes(small_disk / "someone-elses-file")
        with pytest.raises(StoreFullError):
            request_without_end(store)
        report = store.prune(FRUGAL)
        assert report.released_ballast
        assert report.trials > 10
        after = store.learner_steps.commit(make_step(), make_tensors(7), {})
        assert after.learner_steps == acknowledged + 1
        assert store.check() == []
        (small_disk / "someone-elses-file").unlink()
        store.prune(FRUGAL)
        assert folder.ballast_path.stat().st_size == BALLAST_BYTES


def test_publication_and_backup_on_a_full_disk_leave_nothing_behind(small_disk: Path) -> None:
    folder = DataFolder(small_disk / "learnd")
    with Store.open(folder) as store:
        add_active_family(store)
        publish_next(store)
        fill_up(store)
        with pytest.raises(StoreFullError):
            store.initializations.publish(
                make_tensors(3.0, size=1 << 20), scores=[], provenance={}, reason="", parent=1
            )
        with pytest.raises(StoreFullError):
            store.back_up(keep=1)
        assert [entry.version for entry in store.initializations.all()] == [1]
        assert list(folder.backups_path.iterdir()) == []
        assert list(folder.parameters_path.glob(".*.tmp")) == []
        assert store.check() == []


def request_without_end(store: Store) -> None:
    """Write small rows until one is refused. An existing log can be overwritten, so the first rows may succeed."""
    for _ in range(10_000):
        store.requests.add("nudge", {"text": "x" * 2000})


def test_a_file_beyond_the_size_limit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from memory.errors import StoreFullError;"
        "from tests.memory.test_disk_full import write_beyond_the_limit; write_beyond_the_limit(Path(sys.argv[1]))"
    )
    found = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert found.stdout == "refused\n", found.stderr
    assert list(tmp_path.iterdir()) == []


def write_beyond_the_limit(path: Path) -> None:
    """Write beyond the limit on file sizes. This runs in a separate process, since such a limit cannot be removed."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        write_durably(path / "file", bytes(100_000))
    except StoreFullError:
        sys.stdout.write("refused\n")
