"""The store: every room of it behind one object, over one connection."""

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
from memory.tables.checkpoints import CheckpointRoom
from memory.tables.counters import CounterRoom
from memory.tables.curves import CurveRoom
from memory.tables.daemon_status import DaemonStatusRoom
from memory.tables.damage import DamageRoom
from memory.tables.families import FamilyRoom
from memory.tables.initializations import InitializationRoom
from memory.tables.jobs import JobRoom
from memory.tables.learner_steps import LearningRoom
from memory.tables.overview import OverviewRoom
from memory.tables.requests import RequestRoom
from memory.tables.stats import StatsRoom
from memory.tables.trials import TrialRoom

if TYPE_CHECKING:
    from memory.files.backups import BackupRoom
    from memory.records import BackupReport, Problem, Progress, PrunePolicy, PruneReport


class Store:
    """All that learnd remembers; ``open`` makes one.

    The methods are those of its rooms, bound in the constructor: their documentation is in the room's module.
    A store may be used from several threads, one call at a time passing; long work (prune, backup, check) does not
    hold up the others. After a fork, open another.

    Args:
        folder: the data folder.
        connection: an open connection to its database, whose schema is current.
    """

    def __init__(self, folder: DataFolder, connection: StoreConnection) -> None:  # noqa: PLR0915 (a table of names)
        self.folder = folder
        self._connection = connection
        self._parameters = parameters = ParameterFolder(folder.parameters_path)

        counters = CounterRoom(connection)
        self.add_to_counter = counters.add_to_counter
        self.counters = counters.counters

        families = FamilyRoom(connection, counters)
        self.add_family = families.add_family
        self.families = families.families
        self.family = families.family
        self.set_family_state = families.set_family_state
        self.admit_family = families.admit_family
        self.raise_reference = families.raise_reference
        self.record_strike = families.record_strike
        self.clear_strikes = families.clear_strikes

        trials = TrialRoom(connection, families)
        self.trials = trials.trials
        self.load_trial = trials.load_trial

        curves = CurveRoom(connection, families)
        self.commit_evaluation = curves.commit_evaluation
        self.curve = curves.curve
        self.latest_points = curves.latest_points

        checkpoints = CheckpointRoom(connection, folder, parameters)
        self.last_checkpoint = checkpoints.last_checkpoint
        self.num_learner_steps = checkpoints.num_learner_steps
        self.keep_checkpoint = checkpoints.keep_checkpoint
        self.kept_checkpoints = checkpoints.kept_checkpoints
        self.restore_candidates = checkpoints.restore_candidates
        self.load_parameters = checkpoints.load_parameters

        learning = LearningRoom(
            connection, parameters, families=families, trials=trials, curves=curves, checkpoints=checkpoints
        )
        self.commit_learner_step = learning.commit_learner_step

        initializations = InitializationRoom(connection, folder, parameters)
        self.publish = initializations.publish
        self.reject = initializations.reject
        self.initializations = initializations.initializations
        self.current_version = initializations.current_version
        self.current_initialization = initializations.current_initialization
        self.initialization = initializations.initialization
        self.roll_back = initializations.roll_back

        damage = DamageRoom(connection)
        self.damage = damage.damage
        self.note_damage = damage.note_damage

        jobs = JobRoom(connection, counters)
        self.set_schedule = jobs.set_schedule
        self.schedule = jobs.schedule
        self.start_job = jobs.start_job
        self.finish_job = jobs.finish_job
        self.record_job_outcome = jobs.record_job_outcome
        self.interrupt_running_jobs = jobs.interrupt_running_jobs
        self.job_runs = jobs.job_runs
        self.job_summaries = jobs.job_summaries
        self.choice_history = jobs.choice_history
        self.last_practised = jobs.last_practised

        requests = RequestRoom(connection)
        self.request = requests.request
        self.take_requests = requests.take_requests
        self.finish_request = requests.finish_request
        self.request_status = requests.request_status

        daemon_status = DaemonStatusRoom(connection)
        self.set_daemon_status = daemon_status.set_daemon_status
        self.daemon_status = daemon_status.daemon_status

        self.family_reports = OverviewRoom(connection).family_reports
        self.memory_stats = StatsRoom(connection, folder).memory_stats

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

    # The rooms of upkeep load when they are wanted: whoever only reads the status does not wait for them.

    def prune(self, policy: PrunePolicy, *, progress: Progress | None = None) -> PruneReport:
        """Hold the store within its limits (:meth:`memory.upkeep.pruning.PruneRoom.prune`)."""
        from memory.upkeep.pruning import PruneRoom

        return PruneRoom(self._connection, self.folder, self._parameters).prune(policy, progress=progress)

    def back_up(self, *, keep: int, progress: Progress | None = None) -> BackupReport:
        """Copy the store and its parameters, verified (:meth:`memory.files.backups.BackupRoom.back_up`)."""
        return self._backup_room().back_up(keep=keep, progress=progress)

    def backups(self) -> list[Path]:
        """Return the folders of the backups (:meth:`memory.files.backups.BackupRoom.backups`)."""
        return self._backup_room().backups()

    def _backup_room(self) -> BackupRoom:
        from memory.files.backups import BackupRoom

        return BackupRoom(self._connection, self.folder, self._parameters)

    def check(self, *, progress: Progress | None = None) -> list[Problem]:
        """Read everything and return what is wrong; writes nothing.

        Args:
            progress: called with what is being checked and how much of it has been.
        """
        from memory.upkeep.checking import CheckRoom

        connection = StoreConnection(self.folder.store_path, is_reader=True, read_limit_s=None)
        try:
            return CheckRoom(connection, self.folder, self._parameters).check(progress=progress)
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
