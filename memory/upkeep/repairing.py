"""Repair of a damaged store, for ``learnd doctor --repair``.

No data is invented. A file or row is replaced only by a copy that has the recorded checksum. Without such a copy, a
part that the store does not need (a trial, a kept generation, a rejected candidate, the slot of a trial for rehearsal,
the teacher of a family) is removed. Any other damaged part is reported as a remaining problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memory.connection import StoreConnection, to_json
from memory.errors import CorruptFileError, MemoryStoreError
from memory.files.backup_record import listed_backups
from memory.files.intact_copies import read_or_mend
from memory.files.parameters import ParameterFolder
from memory.folder import DataFolder
from memory.opening import open_writer, require_store
from memory.ownership import give_to_owner
from memory.records import (
    BEGIN_FROM_VERSION,
    LEARNER_KINDS,
    Checkpoint,
    ParameterFile,
    Problem,
    ProblemKind,
    Progress,
)
from memory.row_checksums import COVERED, row_checksum, seal
from memory.tables.checkpoints import CheckpointTable
from memory.tables.damage import DamageTable
from memory.tables.parameter_files import forget_unreferenced
from memory.upkeep.checking import IntegrityCheck
from memory.upkeep.interrupted_restore import settle_interrupted_restore
from memory.upkeep.mending import damaged_trials, drop_trials, rebuild_indexes, recount_kept

_DISPENSABLE = {
    "checkpoints": ("is_live = 0", "kept generation of the checkpoint"),
    "initializations": ("version IS NULL", "rejected candidate"),
    "rehearsal_trials": ("true", "slot of a rehearsal reservoir"),
    "rehearsal_teachers": ("true", "teacher of a rehearsal reservoir"),
}
"""The rows that the store does not need, by table: a condition in SQL, and what such a row is."""


@dataclass(frozen=True, kw_only=True)
class RepairReport:
    """A report of a repair.

    Attributes:
        actions: descriptions of what was done, one sentence each.
        needs_consent: description of a necessary change of the live checkpoint and of the resulting loss; empty if no
            change is needed, or if the change was allowed and done.
        remaining: the problems that remain.
    """

    actions: tuple[str, ...]
    needs_consent: str
    remaining: tuple[Problem, ...]


def repair(folder: DataFolder, *, may_roll_back: bool, progress: Progress | None = None) -> RepairReport:
    """Repair a data folder's store. No other process may use the folder.

    Args:
        folder: the data folder.
        may_roll_back: whether an older checkpoint may replace a lost live checkpoint.
        progress: called with the kind of items being checked and the number checked so far.

    Raises:
        FolderInUseError: learnd runs on the folder.
        StoreLostError: the database is lost, and other parts of a store are present.
        StoreMissingError: there is no store.
        ForeignStoreError: the database belongs to another store than the data folder.
        MemoryStoreError: the store cannot be opened.
    """
    require_store(folder)
    folder.create()  # `parameters/` may be missing, and its files be in a backup
    try:
        with folder.hold("control"), folder.hold("learner"):
            settle_interrupted_restore(folder)
            # Opened as the service opens it: repair begins no store and touches none of another UUID.
            connection = open_writer(folder, must_exist=True)
            try:
                return _Repair(connection, folder, progress or (lambda _what, _count: None)).run(
                    may_roll_back=may_roll_back
                )
            finally:
                connection.close()
    finally:
        give_to_owner(folder.path)


class _Repair:
    """A repair, with the list of its actions.

    Args:
        connection: a connection that may write; the caller holds the data folder.
        folder: the data folder.
        tell: called with the progress of checks.
    """

    def __init__(self, connection: StoreConnection, folder: DataFolder, tell: Progress) -> None:
        self._connection = connection
        self._folder = folder
        self._parameters = ParameterFolder(folder.parameters_path)
        self._checkpoints = CheckpointTable(connection, folder, self._parameters)
        self._tell = tell
        self._actions: list[str] = []

    def run(self, *, may_roll_back: bool) -> RepairReport:
        """Repair the store, check it again, and record the remaining problems."""
        known = DamageTable(self._connection).all()
        problems = self._check()
        if any(problem.kind is ProblemKind.DATABASE for problem in problems):
            self._rebuild_indexes()
            problems = self._check()
        needs_consent = ""
        if not any(problem.kind is ProblemKind.DATABASE for problem in problems):
            self._repair_rows(problems)
            self._drop_trials(problems)
            self._repair_files(problems)
            needs_consent = self._settle_checkpoint(may_roll_back=may_roll_back)
            problems = self._check()
        self._acknowledge(known, problems, needs_consent)
        return RepairReport(actions=tuple(self._actions), needs_consent=needs_consent, remaining=tuple(problems))

    def _check(self) -> list[Problem]:
        return IntegrityCheck(self._connection, self._folder, self._parameters).check(progress=self._tell)

    def _rebuild_indexes(self) -> None:
        try:
            rebuild_indexes(self._connection)
        except CorruptFileError:
            return
        self._actions.append("rebuilt every index of the database")

    def _repair_rows(self, problems: list[Problem]) -> None:
        for problem in problems:
            if problem.kind is not ProblemKind.ROW:
                continue
            table, _, row_id = problem.key.partition(":")
            if table not in COVERED or not self._repair_row(table, int(row_id)):
                self._drop_row(table, row_id)

    def _repair_row(self, table: str, row_id: int) -> bool:
        """Replace a row's columns by those of a backup whose row has the recorded checksum; return whether one has."""
        held = self._connection.value(f"SELECT checksum FROM {table} WHERE id = ?", (row_id,))  # noqa: S608
        for backup in listed_backups(self._folder):
            path = DataFolder(backup.path).store_path
            if path.exists() and (values := _row_of(path, table, row_id, held)) is not None:
                columns = ", ".join(f"{column} = ?" for column in COVERED[table])
                with self._connection.transaction("repairing a row"):
                    self._connection.execute(f"UPDATE {table} SET {columns} WHERE id = ?", (*values, row_id))  # noqa: S608
                    seal(self._connection, table, row_id)
                self._actions.append(f"took row {row_id} of {table} from the backup {backup.path.name}")
                return True
        return False

    def _drop_row(self, table: str, row_id: str) -> None:
        """Delete a damaged row if the store does not need it. Other rows stay and are reported as problems."""
        if table not in _DISPENSABLE:
            return
        condition, what = _DISPENSABLE[table]
        delete = f"DELETE FROM {table} WHERE rowid = ? AND {condition}"  # noqa: S608
        with self._connection.transaction("dropping a damaged row"):
            if self._connection.execute(delete, (row_id,)):
                forget_unreferenced(self._connection)
                self._actions.append(f"dropped a {what}, whose row was damaged")

    def _drop_trials(self, problems: list[Problem]) -> None:
        trials = damaged_trials(problems)
        episodes = drop_trials(self._connection, trials)
        if trials or episodes:
            self._actions.append(f"dropped {len(trials)} damaged trials with their {episodes} episodes")
        elif recount_kept(self._connection):
            self._actions.append("corrected the families' counts of kept trials and episodes")

    def _repair_files(self, problems: list[Problem]) -> None:
        for sha256 in [problem.key for problem in problems if problem.kind is ProblemKind.PARAMETER_FILE]:
            size_bytes = self._connection.value("SELECT size_bytes FROM parameter_files WHERE sha256 = ?", (sha256,))
            if size_bytes is None:
                continue
            try:
                read_or_mend(self._parameters, self._folder, ParameterFile(sha256=sha256, size_bytes=size_bytes))
            except CorruptFileError:
                self._drop_references(sha256)
            else:
                self._actions.append(f"took the parameter file {sha256[:12]}… from a backup")

    def _drop_references(self, sha256: str) -> None:
        """Delete kept generations and rejected candidates whose file is lost."""
        with self._connection.transaction("dropping what refers to a lost file"):
            generations = self._connection.execute(
                "DELETE FROM checkpoints WHERE is_live = 0 AND sha256 = ?", (sha256,)
            )
            rejected = self._connection.execute(
                "DELETE FROM initializations WHERE version IS NULL AND sha256 = ?", (sha256,)
            )
            forget_unreferenced(self._connection)
        if generations:
            self._actions.append(f"dropped {generations} kept generations of the checkpoint, whose file is lost")
        if rejected:
            self._actions.append(f"dropped {rejected} rejected candidates, whose file is lost")

    def _settle_checkpoint(self, *, may_roll_back: bool) -> str:
        """Replace a lost live checkpoint by an older one, if allowed.

        Returns:
            A description of the change that needs consent; empty if none does.
        """
        committed = self._checkpoints.num_learner_steps()
        if committed == 0 or self._is_live_intact(committed):
            return ""
        candidate = self._newest_intact()
        if candidate is not None:
            plan = f"the parameters of learner step {candidate.learner_steps} replace those of step {committed}"
        else:
            candidate = self._published(committed)
            if candidate is None:
                return ""
            plan = (
                f"no checkpoint is intact: the published version {candidate.meta[BEGIN_FROM_VERSION]} replaces the"
                " checkpoint. What was learned after that version, and about families that it does not know, is lost"
            )
        if not may_roll_back:
            return f"{plan}; totals and curves stay as they are"
        self._make_live(candidate, committed)
        self._actions.append(f"{plan}; totals and curves stayed as they were")
        return ""

    def _is_live_intact(self, committed: int) -> bool:
        first = next(iter(self._checkpoints.restore_candidates()), None)
        return first is not None and first.learner_steps == committed and self._is_readable(first.file)

    def _newest_intact(self) -> Checkpoint | None:
        return next((kept for kept in self._checkpoints.kept() if self._is_readable(kept.file)), None)

    def _published(self, committed: int) -> Checkpoint | None:
        """Return a checkpoint of the published version; None if there is no version or its file is lost."""
        row = self._connection.row(
            "SELECT version, sha256, size_bytes FROM initializations JOIN parameter_files USING (sha256)"
            " WHERE is_current = 1"
        )
        if row is None:
            return None
        file = ParameterFile(sha256=row["sha256"], size_bytes=row["size_bytes"])
        if not self._is_readable(file):
            return None
        meta = {BEGIN_FROM_VERSION: row["version"]}
        return Checkpoint(file=file, meta=meta, learner_steps=committed, created_at=self._connection.clock())

    def _is_readable(self, file: ParameterFile) -> bool:
        try:
            self._parameters.read(file)
        except CorruptFileError:
            return False
        return True

    def _make_live(self, candidate: Checkpoint, committed: int) -> None:
        with self._connection.transaction("rolling the live checkpoint back"):
            superseded = self._checkpoints.set_live(
                candidate.file, to_json(candidate.meta), learner_steps=committed, at=self._connection.clock()
            )
        self._checkpoints.remove_files(superseded)

    def _acknowledge(self, known: list[Problem], remaining: list[Problem], needs_consent: str) -> None:
        """Record the remaining problems. Problems that the trainer reported are removed if it can train again."""
        is_learnable = not needs_consent and (
            self._checkpoints.num_learner_steps() == 0 or bool(self._checkpoints.restore_candidates())
        )
        is_broken = any(problem.kind is ProblemKind.DATABASE for problem in remaining)
        settled = is_learnable and not is_broken
        reported = [problem for problem in known if problem.kind in LEARNER_KINDS]
        try:
            DamageTable(self._connection).replace(remaining, with_learner_kinds=settled)
        except CorruptFileError:
            return
        if settled and reported:
            self._actions.append("acknowledged: " + "; ".join(problem.found for problem in reported))


def _row_of(path: Path, table: str, row_id: int, checksum: object) -> tuple[object, ...] | None:
    """Return the covered columns of a row in another database, if they have that checksum."""
    columns = ", ".join(COVERED[table])
    connection = StoreConnection(path, is_reader=True, read_limit_s=None)
    try:
        row = connection.row(f"SELECT {columns} FROM {table} WHERE id = ?", (row_id,))  # noqa: S608
    except MemoryStoreError:
        return None
    finally:
        connection.close()
    return tuple(row) if row is not None and row_checksum(table, row) == checksum else None
