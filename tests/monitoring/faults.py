"""Faults of a real service, each made within a block and mended at its end, with the alerts that it must cause."""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from memory.files.backup_record import listed_backups
from memory.folder import DataFolder
from memory.records import Family, FamilyState
from memory.sqlite_library import sqlite3
from memory.store import Store
from tests.memory.damage import damage_episode, damage_file
from tests.monitoring.prometheus import Alert, Monitoring
from tests.repository import ROOT
from tests.service import Service

ENVIRONMENTS = "tests.monitoring.faulty_environments"
LARGE_WAL_BYTES = 144 << 20
"""More than `LearndWalGrowing` allows."""

ALMOST_FULL_BYTES = 24 << 20
DISK_SIZE = "6G"
"""With more than 4 GiB free, `LearndDiskFilling` is silent. A tmpfs takes only the memory that is written to it."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The parts that faults are made with.

    Attributes:
        service: the service, which runs.
        monitoring: the Prometheus that watches it.
        disk: a small file system with the data folder; None if none can be mounted.
        trips: a folder with the files that bring the faults of environments about.
        config: the service's settings, as the text of a file.
    """

    service: Service
    monitoring: Monitoring
    disk: Path | None
    trips: Path
    config: str

    @property
    def folder(self) -> DataFolder:
        return DataFolder(self.service.folder)

    def add_family(self, environment: str) -> None:
        name = environment.lower()
        self.service.learnd(
            "env", "add", f"{ENVIRONMENTS}:{environment}", "--name", name, "--path", str(ROOT), "--no-check",
            "--reference", "none", "--kwarg", f"trip={self.trips / name}",
        )  # fmt: skip

    def families(self) -> list[Family]:
        with Store.open(self.folder, is_reader=True) as store:
            return store.families.all()

    def set_state(self, names: Sequence[str], state: FamilyState) -> None:
        with Store.open(self.folder) as store:
            for name in names:
                store.families.set_state(name, state)

    def reload(self, **intervals: str) -> None:
        """Have the service take over other intervals of jobs."""
        text = self.config
        for job, interval in intervals.items():
            text, found = re.subn(rf'(?m)^{job} = ".*"$', f'{job} = "{interval}"', text)
            assert found == 1, job
        self.reload_text(text)

    def reload_text(self, text: str) -> None:
        """Have the service read a file of settings with this text."""
        self.service.config_path.write_text(text)
        assert self.service.process is not None
        self.service.process.send_signal(signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault.

    Attributes:
        make: makes the fault, and mends it at the end of the block.
        alerts: the alerts that it causes, with labels that they must have.
    """

    make: Callable[[Place], AbstractContextManager[None]]
    alerts: tuple[Alert, ...]


# Families


@contextmanager
def tripped(place: Place, name: str) -> Iterator[None]:
    trip = place.trips / name
    trip.touch()
    yield
    trip.unlink()


@contextmanager
def family_that_crashes_always(place: Place) -> Iterator[None]:
    with tripped(place, "segfaulting"):
        yield
    place.service.learnd("env", "resume", "segfaulting")


@contextmanager
def family_that_crashes_often(place: Place) -> Iterator[None]:
    """End a family's workers again and again, while no other family takes time from it."""
    others = [family.name for family in place.families() if family.name != "shortlived"]
    place.set_state(others, FamilyState.PAUSED)
    with tripped(place, "shortlived"):
        yield
    place.set_state(others, FamilyState.ACTIVE)


@contextmanager
def refused_family(place: Place) -> Iterator[None]:
    place.add_family("Unusable")
    yield
    place.service.learnd("env", "remove", "unusable", "--yes")


@contextmanager
def family_that_pays_nothing_any_more(place: Place) -> Iterator[None]:
    """Every candidate is worse than the best version, until the environment pays again and there is more to publish."""
    with tripped(place, "worthless"):
        place.reload(consolidate="4s")
        yield
    words = ("bernoulli_bandits", "--name", "fewer_arms", "--kwarg", "num_arms=3", "--reference", "60")
    place.service.learnd("env", "add", *words)


# Store, disk and backups


@contextmanager
def missing_target_of_backups(place: Place) -> Iterator[None]:
    target = place.trips.parent / "other-host"
    target.rename(target.with_name("unmounted"))
    yield
    target.with_name("unmounted").rename(target)


@contextmanager
def reader_without_end(place: Place) -> Iterator[None]:
    """Hold a read transaction open while the write-ahead log grows, which cannot be emptied meanwhile.

    The log grows by one large transaction that is undone, because hours of commits would take too long.
    """
    with contextlib.closing(sqlite3.connect(place.folder.store_path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM families").fetchone()
        with contextlib.closing(sqlite3.connect(place.folder.store_path, isolation_level=None)) as writer:
            writer.execute("PRAGMA cache_size = 100")  # pages beyond the cache are written to the log at once
            writer.execute("PRAGMA busy_timeout = 30000")
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("CREATE TABLE undone (content BLOB)")
            writer.execute("INSERT INTO undone VALUES (zeroblob(?))", (LARGE_WAL_BYTES,))
            writer.execute("ROLLBACK")
        assert place.folder.wal_path.stat().st_size >= LARGE_WAL_BYTES
        yield


@contextmanager
def almost_full_disk(place: Place) -> Iterator[None]:
    assert place.disk is not None
    resize(place.disk, str(shutil.disk_usage(place.disk).used + ALMOST_FULL_BYTES))
    yield
    resize(place.disk, DISK_SIZE)


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True, capture_output=True)


@contextmanager
def damaged_store(place: Place) -> Iterator[None]:
    """Damage a stored episode and the live checkpoint while the service is stopped.

    Backups that have the checkpoint's file are removed, because the trainer would take it from them and lose nothing.
    """
    place.service.stop()
    with Store.open(place.folder) as store:
        live = store.checkpoints.live()
        assert live is not None
        damage_episode(store, episode_id=store._connection.value("SELECT max(id) FROM episodes"))
    file = damage_file(place.folder, live.file.sha256)
    for backup in listed_backups(place.folder):
        if (DataFolder(backup.path).parameters_path / file.name).exists():
            shutil.rmtree(backup.path)
    place.service.start()
    yield
    repair(place)


@contextmanager
def lost_checkpoints(place: Place) -> Iterator[None]:
    """Damage every checkpoint while the service is stopped, and remove the backups, which may have intact ones."""
    place.service.stop()
    with Store.open(place.folder, is_reader=True) as store:
        files = {checkpoint.file.sha256 for checkpoint in store.checkpoints.restore_candidates()}
    for sha256 in files:
        damage_file(place.folder, sha256)
    for backup in listed_backups(place.folder):
        shutil.rmtree(backup.path)
    place.service.start()
    yield
    repair(place)


def repair(place: Place) -> None:
    """Repair the store as the manual says: with the service stopped, and by consent to what is lost."""
    place.service.stop()
    place.service.learnd("doctor", "--repair", "--yes")
    place.service.start()


@contextmanager
def locked_database(place: Place) -> Iterator[None]:
    """Hold the locks that every transaction takes, as a program that hangs, or a file system with lost locks, does.

    They are the bytes of the five read marks in the file of shared memory (https://sqlite.org/walformat.html). SQLite
    must not be used on this file in this process meanwhile: closing any descriptor of it would drop the locks.
    """
    first_read_mark, num_read_marks = 123, 5
    with place.folder.store_path.with_name(f"{place.folder.store_path.name}-shm").open("r+b") as shared:
        fcntl.lockf(shared, fcntl.LOCK_EX, num_read_marks, first_read_mark)
        yield


@contextmanager
def damaged_backup(place: Place) -> Iterator[None]:
    place.reload(backup="1h", verify="5s")
    newest = listed_backups(place.folder)[0]
    content = bytearray(DataFolder(newest.path).store_path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    DataFolder(newest.path).store_path.write_bytes(bytes(content))
    yield
    shutil.rmtree(newest.path)


@contextmanager
def wrong_settings(place: Place) -> Iterator[None]:
    place.reload_text(place.config.replace("slice_s = 0.3", 'slice_s = "soon"'))
    yield
    place.reload()


# Processes


@contextmanager
def hanging_trainer(place: Place) -> Iterator[None]:
    """Stop the trainer's process, until the daemon kills it for making no progress."""
    trainer = place.service.learner()
    assert trainer is not None
    trainer.send_signal(signal.SIGSTOP)
    yield
    trainer.wait(timeout=120)


@contextmanager
def trainer_that_exits_at_once(place: Place) -> Iterator[None]:
    """Kill each trainer as soon as it runs."""
    is_mended = threading.Event()

    def kill_all() -> None:
        while not is_mended.wait(0.2):
            with contextlib.suppress(psutil.NoSuchProcess):
                if (trainer := place.service.learner()) is not None:
                    trainer.kill()

    killer = threading.Thread(target=kill_all, daemon=True)
    killer.start()
    yield
    is_mended.set()
    killer.join()


@contextmanager
def stopped_service(place: Place) -> Iterator[None]:
    place.service.stop()
    yield
    place.service.start()


@contextmanager
def missing_target_of_prometheus(place: Place) -> Iterator[None]:
    with place.monitoring.without_target():
        yield


ACTS: tuple[tuple[Fault, ...], ...] = (
    (
        Fault(make=family_that_crashes_always, alerts=(("LearndFamilyQuarantined", {"family": "segfaulting"}),)),
        Fault(make=refused_family, alerts=(("LearndFamilyRefused", {}),)),
        Fault(make=family_that_pays_nothing_any_more, alerts=(("LearndConsolidationRejected", {}),)),
        Fault(make=reader_without_end, alerts=(("LearndWalGrowing", {}),)),
        Fault(
            make=missing_target_of_backups,
            alerts=(
                ("LearndBackupMissing", {}),
                ("LearndJobFailing", {"job": "backup"}),
                ("LearndUnhealthy", {"reason": "job_failing"}),
            ),
        ),
    ),
    (
        Fault(make=family_that_crashes_often, alerts=(("LearndWorkersDying", {"family": "shortlived"}),)),
        Fault(make=wrong_settings, alerts=(("LearndUnhealthy", {"reason": "settings_invalid"}),)),
    ),
    (
        Fault(make=hanging_trainer, alerts=(("LearndNotLearning", {}),)),
        Fault(make=almost_full_disk, alerts=(("LearndDiskFilling", {}), ("LearndUnhealthy", {"reason": "disk_full"}))),
    ),
    (
        Fault(
            make=trainer_that_exits_at_once,
            alerts=(("LearndLearnerCrashLoop", {}), ("LearndUnhealthy", {"reason": "learner_crash_loop"})),
        ),
    ),
    (
        Fault(
            make=damaged_store,
            alerts=(
                ("LearndStoreDamaged", {"kind": "trial"}),
                ("LearndStoreDamaged", {"kind": "checkpoint_fallback"}),
                ("LearndBackupDamaged", {}),
                ("LearndUnhealthy", {"reason": "store_damaged"}),
                ("LearndUnhealthy", {"reason": "checkpoint_fallback"}),
            ),
        ),
    ),
    (
        Fault(
            make=damaged_backup,
            alerts=(("LearndBackupDamaged", {}), ("LearndUnhealthy", {"reason": "backup_damaged"})),
        ),
    ),
    (
        Fault(
            make=locked_database,
            alerts=(
                ("LearndUnhealthy", {"reason": "store_unreadable"}),
                ("LearndUnhealthy", {"reason": "store_unwritable"}),
            ),
        ),
    ),
    (
        Fault(
            make=lost_checkpoints,
            alerts=(
                ("LearndStoreDamaged", {"kind": "checkpoint_lost"}),
                ("LearndUnhealthy", {"reason": "checkpoint_lost"}),
            ),
        ),
    ),
    (Fault(make=stopped_service, alerts=(("LearndDown", {}),)),),
    (Fault(make=missing_target_of_prometheus, alerts=(("LearndScrapeMissing", {}),)),),
)
"""The faults in the order in which they are made; those of one act are made at the same time."""
