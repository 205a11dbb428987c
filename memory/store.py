"""The store: its tables on one connection, and the operations that cover all tables."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from memory.connection import StoreConnection
from memory.files.parameters import ParameterFolder
from memory.folder import DataFolder
from memory.identity import identity_of_database
from memory.opening import open_writer
from memory.readers import open_reader
from memory.tables.checkpoints import CheckpointTable
from memory.tables.context_encoders import ContextEncoderTable
from memory.tables.context_keys import ContextKeyTable
from memory.tables.counters import CounterTable
from memory.tables.curves import CurveTable
from memory.tables.daemon_status import DaemonStatusTable
from memory.tables.damage import DamageTable
from memory.tables.families import FamilyTable
from memory.tables.family_files import FamilyFileTable
from memory.tables.imported_trials import ImportedTrialTable
from memory.tables.initializations import InitializationTable
from memory.tables.jobs import JobTable
from memory.tables.learner_steps import LearnerStepTable
from memory.tables.overview import Overview
from memory.tables.quarantines import QuarantineTable
from memory.tables.references import ReferenceTable
from memory.tables.rehearsal import RehearsalTable
from memory.tables.requests import RequestTable
from memory.tables.stats import Statistics
from memory.tables.trials import TrialTable

if TYPE_CHECKING:
    from memory.files.backups import Backups
    from memory.records import BackupReport, Problem, Progress, PrunePolicy, PruneReport


class Store:
    """A store: the episodic memory and all other data that learnd persists. Use :meth:`open` to get one.

    Several threads may use a store; their calls wait for each other. Long operations (prune, back up, check) let other
    calls run in between. A process that was forked must open a store of its own.

    Args:
        folder: the data folder.
        connection: an open connection to the folder's database, whose schema is current.

    Attributes:
        folder: the data folder.
        families, quarantines, references, trials, rehearsal, contexts, encoders, imported, curves, checkpoints,
            learner_steps, initializations, damage, jobs, requests, daemon_status, counters: the tables.
        overview: the values that ``learnd status`` shows.
        stats: sizes of the episodic memory.
    """

    def __init__(self, folder: DataFolder, connection: StoreConnection) -> None:
        self.folder = folder
        self._connection = connection
        self._parameters = parameters = ParameterFolder(folder.parameters_path)
        self.counters = CounterTable(connection)
        self.families = FamilyTable(connection, self.counters)
        self.family_files = FamilyFileTable(connection)
        self.quarantines = QuarantineTable(connection)
        self.references = ReferenceTable(connection, self.families)
        self.damage = DamageTable(connection)
        self.contexts = ContextKeyTable(connection, self.families)
        self.encoders = ContextEncoderTable(connection, self.families)
        self.trials = TrialTable(connection, self.families, self.contexts)
        self.rehearsal = RehearsalTable(connection, self.damage)
        self.imported = ImportedTrialTable(connection, self.families, self.trials)
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

        A writer creates the folder and the database if there is no part of a store, and migrates the schema to the
        newest version. A reader works whether the daemon runs or not, writes nothing, and has a time limit for each
        read.

        Args:
            folder: the data folder.
            is_reader: never write.
            must_exist: do not create a store. A reader never creates one.
            clock: wall clock, seconds since the epoch.

        Raises:
            StoreMissingError: there is no store, and it must not be created.
            StoreLostError: the database is missing or empty, but other parts of a store are in the folder.
            ForeignStoreError: a writer found that the database belongs to another store than the folder.
            UnknownSchemaError: another version of learnd wrote it.
            CorruptFileError: the database is damaged.
            StoreFullError: the disk has no space for the files that opening writes.
            MemoryStoreError: the folder cannot be used.
        """
        if is_reader:
            return cls(folder, open_reader(folder.store_path, clock=clock))
        return cls(folder, open_writer(folder, must_exist=must_exist, clock=clock))

    @property
    def is_reader(self) -> bool:
        """Return whether the store was opened for reading only."""
        return self._connection.is_reader

    def identity(self) -> str | None:
        """Return the UUID in the database; None for a store that was written before stores had UUIDs."""
        return identity_of_database(self._connection)

    def move_log_into_database(self) -> bool:
        """Move the write-ahead log into the database file; return whether all of it could be moved."""
        return self._connection.truncate_wal()

    def data_version(self) -> int:
        """Return a number that changes whenever another connection commits."""
        return int(self._connection.value("PRAGMA data_version"))

    def family_reports(self, *, with_removed: bool = False) -> list[dict[str, Any]]:
        """Return the reports of :meth:`Overview.family_reports`, where a family with an unreadable spec is refused."""
        with self._connection.snapshot():
            reports = self.overview.family_reports(with_removed=with_removed)
            families = self.families.all(with_removed=with_removed)
        return [
            {
                **report,
                "state": str(family.state),
                "state_reason": family.state_reason,
                "quarantined_until": family.quarantined_until,
            }
            for report, family in zip(reports, families, strict=True)
        ]

    # The modules of upkeep are imported when they are used, so that commands that only read start faster.

    def prune(self, policy: PrunePolicy, *, progress: Progress | None = None) -> PruneReport:
        """Remove data beyond the limits of a policy (:meth:`memory.upkeep.pruning.Pruning.prune`)."""
        from memory.upkeep.pruning import Pruning

        return Pruning(self._connection, self.folder, self._parameters).prune(policy, progress=progress)

    def back_up(self, *, keep: int, progress: Progress | None = None) -> BackupReport:
        """Make a verified backup of the store and its parameters (:meth:`memory.files.backups.Backups.back_up`)."""
        return self._backups().back_up(keep=keep, progress=progress)

    def backups(self) -> list[Path]:
        """Return the folders of the backups (:meth:`memory.files.backups.Backups.backups`)."""
        return self._backups().backups()

    def _backups(self) -> Backups:
        from memory.files.backups import Backups

        return Backups(self._connection, self.folder, self._parameters)

    def check(self, *, progress: Progress | None = None) -> list[Problem]:
        """Read the whole store and return its problems; write nothing.

        Args:
            progress: called with the kind of items being checked and the number checked so far.
        """
        from memory.upkeep.checking import IntegrityCheck

        connection = StoreConnection(self.folder.store_path, is_reader=True, read_limit_s=None)
        try:
            return IntegrityCheck(connection, self.folder, self._parameters).check(progress=progress)
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connection. Calling this again has no effect."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
