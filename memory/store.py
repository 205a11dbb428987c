"""The store: its tables over one connection, and the work that covers all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from memory.connection import StoreConnection
from memory.files.parameters import ParameterFolder
from memory.folder import DataFolder
from memory.identity import identity_of_database
from memory.opening import open_writer
from memory.readers import open_reader
from memory.tables.checkpoints import CheckpointTable
from memory.tables.counters import CounterTable
from memory.tables.curves import CurveTable
from memory.tables.daemon_status import DaemonStatusTable
from memory.tables.damage import DamageTable
from memory.tables.families import FamilyTable
from memory.tables.initializations import InitializationTable
from memory.tables.jobs import JobTable
from memory.tables.learner_steps import LearnerStepTable
from memory.tables.overview import Overview
from memory.tables.requests import RequestTable
from memory.tables.stats import Statistics
from memory.tables.trials import TrialTable

if TYPE_CHECKING:
    from memory.files.backups import Backups
    from memory.records import BackupReport, Problem, Progress, PrunePolicy, PruneReport


class Store:
    """The episodic memory and everything else that learnd persists; :meth:`open` creates one.

    A store may be used from several threads; calls wait for each other. Long work (prune, back up, check) lets other
    calls pass in between. After a fork, open another store.

    Args:
        folder: the data folder.
        connection: an open connection to its database, whose schema is current.

    Attributes:
        folder: the data folder.
        families, trials, curves, checkpoints, learner_steps, initializations, damage, jobs, requests, daemon_status,
            counters: the tables.
        overview: what ``learnd status`` reads.
        stats: sizes of the episodic memory.
    """

    def __init__(self, folder: DataFolder, connection: StoreConnection) -> None:
        self.folder = folder
        self._connection = connection
        self._parameters = parameters = ParameterFolder(folder.parameters_path)
        self.counters = CounterTable(connection)
        self.families = FamilyTable(connection, self.counters)
        self.trials = TrialTable(connection, self.families)
        self.curves = CurveTable(connection, self.families)
        self.checkpoints = CheckpointTable(connection, folder, parameters)
        self.learner_steps = LearnerStepTable(
            connection,
            parameters,
            families=self.families,
            trials=self.trials,
            curves=self.curves,
            checkpoints=self.checkpoints,
        )
        self.initializations = InitializationTable(connection, folder, parameters)
        self.damage = DamageTable(connection)
        self.jobs = JobTable(connection, self.counters)
        self.requests = RequestTable(connection)
        self.daemon_status = DaemonStatusTable(connection)
        self.overview = Overview(connection)
        self.stats = Statistics(connection, folder)

    @classmethod
    def open(
        cls,
        folder: DataFolder,
        *,
        is_reader: bool = False,
        must_exist: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> Store:
        """Open the store of a data folder.

        A writer makes the folder and the database where nothing of a store is, and brings the schema up to date. A
        reader works with the daemon up or down, writes nothing, and each of its reads is bounded.

        Args:
            folder: the data folder.
            is_reader: never write.
            must_exist: never make a store; a reader never does.
            clock: wall clock, seconds since the epoch.

        Raises:
            StoreMissingError: there is no store, and it is not to be made.
            StoreLostError: the database is missing or empty, but other parts of a store are in the folder.
            ForeignStoreError: a writer found that the database belongs to another store than the folder.
            UnknownSchemaError: another version of learnd wrote it.
            CorruptFileError: the database is damaged.
            StoreFullError: the disk has no room for what opening writes.
            MemoryStoreError: the folder cannot be used.
        """
        if is_reader:
            return cls(folder, open_reader(folder.store_path, clock=clock))
        return cls(folder, open_writer(folder, must_exist=must_exist, clock=clock))

    @property
    def is_reader(self) -> bool:
        """Whether it was opened to read only."""
        return self._connection.is_reader

    def identity(self) -> str | None:
        """Return the UUID in the database; None for a store written before stores had one."""
        return identity_of_database(self._connection)

    def move_log_into_database(self) -> bool:
        """Move the write-ahead log into the database file; return whether all of it could be moved."""
        return self._connection.truncate_wal()

    def data_version(self) -> int:
        """Return a number that changes when another connection has committed since the last call."""
        return int(self._connection.value("PRAGMA data_version"))

    # Modules of upkeep are imported when they are needed: commands that only read do not wait for them.

    def prune(self, policy: PrunePolicy, *, progress: Progress | None = None) -> PruneReport:
        """Hold the store within its limits (:meth:`memory.upkeep.pruning.Pruning.prune`)."""
        from memory.upkeep.pruning import Pruning

        return Pruning(self._connection, self.folder, self._parameters).prune(policy, progress=progress)

    def back_up(self, *, keep: int, progress: Progress | None = None) -> BackupReport:
        """Copy the store and its parameters, verified (:meth:`memory.files.backups.Backups.back_up`)."""
        return self._backups().back_up(keep=keep, progress=progress)

    def backups(self) -> list[Path]:
        """Return the folders of the backups (:meth:`memory.files.backups.Backups.backups`)."""
        return self._backups().backups()

    def _backups(self) -> Backups:
        from memory.files.backups import Backups

        return Backups(self._connection, self.folder, self._parameters)

    def check(self, *, progress: Progress | None = None) -> list[Problem]:
        """Read everything and return what is wrong; writes nothing.

        Args:
            progress: called with what is being checked and how much of it has been.
        """
        from memory.upkeep.checking import IntegrityCheck

        connection = StoreConnection(self.folder.store_path, is_reader=True, read_limit_s=None)
        try:
            return IntegrityCheck(connection, self.folder, self._parameters).check(progress=progress)
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connection; safe to call again."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
