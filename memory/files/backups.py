"""Backups: the database and every parameter file that it refers to. A backup gets its name after it was verified."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from memory.connection import StoreConnection
from memory.errors import CorruptFileError
from memory.files.backup_record import Backup, listed_backups, name_at, write_record
from memory.files.database_copy import copy_database
from memory.files.intact_copies import read_or_mend
from memory.files.parameters import ParameterFolder, fsync_folder, sha256_of, write_durably
from memory.folder import DataFolder
from memory.identity import FILE_NAME, identity_of_database
from memory.records import BackupReport, ParameterFile, Problem, ProblemKind, Progress
from memory.repair_hint import STOP_AND_REPAIR
from memory.tables.damage import DamageTable
from memory.upkeep.checking import IntegrityCheck, file_problem
from memory.upkeep.mending import damaged_trials, drop_trials, rebuild_indexes
from memory.upkeep.restoring import restore

__all__ = ["Backups", "finished_backups", "restore"]

UNFINISHED = ".*.tmp"
"""Pattern of the names of folders that are not backups: unfinished ones, and those being removed."""


@dataclass(kw_only=True)
class _CopiedFiles:
    """The parameter files of a backup that is being made.

    Attributes:
        present: the files that are in the backup.
        new_bytes: size of the files that were written rather than shared with an older backup.
        damaged: damaged files of the store of which no backup has an intact copy.
        mended: sha256 of the files of the store that were replaced from an older backup.
    """

    present: list[ParameterFile] = field(default_factory=list)
    new_bytes: int = 0
    damaged: list[Problem] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)


class Backups:
    """The backups of a store: folders with the layout of a data folder, named by their time in UTC.

    They are ordered by the numbers in their ``backup.json``, because a clock can be wrong.
    """

    def __init__(self, connection: StoreConnection, folder: DataFolder, parameters: ParameterFolder) -> None:
        self._connection = connection
        self._folder = folder
        self._parameters = parameters

    def back_up(self, *, keep: int, progress: Progress | None = None) -> BackupReport:
        """Make a backup, verify it, give it its name, and remove the oldest backups beyond ``keep``.

        The database is copied from one snapshot while other processes write. Parameter files never change, so a file
        of the previous backup that matches its checksum is shared with it by a hard link.

        Damage of the store does not prevent the backup:

        - Damaged trials are left out.
        - A damaged parameter file is taken from an older backup. It is left out if no backup has it.
        - The report and ``backup.json`` list the damage.

        Only backups of this store are counted and removed. The backup just made and the newest clean backup are never
        removed.

        Args:
            keep: number of backups to keep, at least 1.
            progress: called with the kind of items being processed and the number processed so far.

        Raises:
            CorruptFileError: the structure of the database is damaged. No backup was made; older ones are unchanged.
            StoreFullError: the disk is full. No backup was made; older ones are unchanged.
            ValueError: ``keep`` is below 1.
        """
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        started = time.monotonic()
        tell = progress or (lambda _what, _count: None)
        self._remove_unfinished()
        before = listed_backups(self._folder)
        sequence = 1 + max((backup.sequence or 0 for backup in before), default=0)
        path, made_at = self._free_path()
        unfinished = DataFolder(_unfinished_path(path))
        try:
            files = self._copy(unfinished, before, tell)
            damaged = (*files.damaged, *_verified(unfinished, files, tell))
            store_id = self._identify(unfinished)
            write_record(unfinished, sequence=sequence, made_at=made_at, damaged=damaged)
            fsync_folder(unfinished.parameters_path)
            fsync_folder(unfinished.path)
            unfinished.path.rename(path)
            fsync_folder(self._folder.backups_path)
        except BaseException:
            shutil.rmtree(unfinished.path, ignore_errors=True)
            raise
        if not self._connection.is_reader:
            DamageTable(self._connection).replace(damaged)
        database_bytes = DataFolder(path).store_path.stat().st_size
        return BackupReport(
            path=path,
            sequence=sequence,
            size_bytes=database_bytes + sum(file.size_bytes for file in files.present),
            new_bytes=database_bytes + files.new_bytes,
            num_parameter_files=len(files.present),
            removed=self._remove_old(keep, store_id),
            duration_s=time.monotonic() - started,
            damaged=damaged,
            mended=tuple(files.mended),
            warnings=tuple(self._warnings(damaged, files.mended)),
        )

    def _copy(self, target: DataFolder, before: list[Backup], tell: Progress) -> _CopiedFiles:
        """Copy the database and its parameter files into a new folder."""
        target.parameters_path.mkdir(mode=0o700, parents=True)
        # From the snapshot to the copy of the last file, the trainer must not remove superseded files.
        with self._parameters.kept_still():
            self._copy_database(target.store_path, tell)
            return self._copy_files(target, before, tell)

    def backups(self) -> list[Path]:
        """Return the finished backups, newest first."""
        return finished_backups(self._folder)

    def _free_path(self) -> tuple[Path, float]:
        """Return the backup's path and time. A clock that was set back must not produce the same name twice."""
        at = self._connection.clock()
        while (path := self._folder.backups_path / name_at(at)).exists():
            at += 1e-6
        return path, at

    def _identify(self, backup: DataFolder) -> str | None:
        """Write the store's UUID into a backup's folder and return the UUID; None if the database has no UUID."""
        copied = StoreConnection(backup.store_path, is_reader=True, read_limit_s=None)
        try:
            store_id = identity_of_database(copied)
        finally:
            copied.close()
        if store_id is not None:
            write_durably(backup.path / FILE_NAME, f"{store_id}\n".encode("ascii"))
        return store_id

    def _remove_old(self, keep: int, store_id: str | None) -> tuple[str, ...]:
        own = [backup for backup in listed_backups(self._folder) if store_id and backup.store_id() == store_id]
        newest_clean = next((backup for backup in own if backup.is_clean), None)
        old = [backup for backup in own[keep:] if backup != newest_clean]
        for backup in old:
            # A removal that is killed half-way must not leave a folder that looks like a backup.
            removed = _unfinished_path(backup.path)
            backup.path.rename(removed)
            shutil.rmtree(removed)
        return tuple(backup.path.name for backup in old)

    def _warnings(self, damaged: tuple[Problem, ...], mended: list[str]) -> list[str]:
        now = self._connection.clock()
        future = [backup.path.name for backup in listed_backups(self._folder) if backup.is_from_future(now)]
        warnings = []
        if future:
            names = ", ".join(future)
            warnings.append(f"backups from the future (the clock was ahead then, or is behind now): {names}.")
        if damaged:
            found = "; ".join(f"{problem.subject}: {problem.found}" for problem in damaged[:5])
            warnings.append(
                f"the store is damaged and was backed up without the damaged parts ({len(damaged)}): {found}"
                f" {STOP_AND_REPAIR}"
            )
        if mended:
            warnings.append(f"parameter files were damaged and have been replaced from a backup: {', '.join(mended)}.")
        return warnings

    def _remove_unfinished(self) -> None:
        for path in self._folder.backups_path.glob(UNFINISHED):
            shutil.rmtree(path, ignore_errors=True)

    def _copy_database(self, target_path: Path, tell: Progress) -> None:
        source = StoreConnection(self._folder.store_path, is_reader=True, read_limit_s=None)
        try:
            # In a snapshot the copy is of one state, and does not have to restart when the trainer commits.
            with source.snapshot("backing up the store"):
                source.rows("SELECT count(*) FROM sqlite_master")
                copy_database(source, target_path, tell)
        finally:
            source.close()

    def _copy_files(self, target: DataFolder, before: list[Backup], tell: Progress) -> _CopiedFiles:
        """Copy or link every parameter file that the copied database refers to."""
        copied = StoreConnection(target.store_path, is_reader=True, read_limit_s=None)
        try:
            found = copied.rows("SELECT sha256, size_bytes FROM parameter_files")
        finally:
            copied.close()
        held = next((ParameterFolder(DataFolder(backup.path).parameters_path) for backup in before), None)
        into = ParameterFolder(target.parameters_path)
        files = _CopiedFiles()
        for number, row in enumerate(found, start=1):
            file = ParameterFile(sha256=row["sha256"], size_bytes=row["size_bytes"])
            try:
                content, is_mended = read_or_mend(self._parameters, self._folder, file)
            except CorruptFileError as error:
                files.damaged.append(file_problem(file.sha256, error))
                continue
            if is_mended:
                files.mended.append(file.sha256)
            path = into.file_path(file.sha256)
            if held is None or not _shared(held.file_path(file.sha256), file, path):
                write_durably(path, content)
                files.new_bytes += file.size_bytes
            files.present.append(file)
            tell("parameter files", number)
        return files


def finished_backups(folder: DataFolder) -> list[Path]:
    """Return the folders of the finished backups of a data folder, newest first."""
    return [backup.path for backup in listed_backups(folder)]


def _unfinished_path(path: Path) -> Path:
    """Return a new path beside a backup's, whose name matches ``UNFINISHED``."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _shared(held: Path, file: ParameterFile, path: Path) -> bool:
    """Link a file of the previous backup into this one if it is intact; return whether this was done."""
    if not held.exists() or sha256_of(held.read_bytes()) != file.sha256:
        return False
    try:
        os.link(held, path)
    except OSError:
        return False
    return True


def _verified(backup: DataFolder, files: _CopiedFiles, tell: Progress) -> list[Problem]:
    """Check a copy like `learnd doctor`, and repair it as far as possible; return the problems.

    Raises:
        CorruptFileError: the structure of the database is damaged, and rebuilding its indexes did not help.
    """
    known = {problem.key for problem in files.damaged}
    problems = [problem for problem in _problems(backup, tell) if problem.key not in known]
    if not problems:
        return []
    _repair_copy(backup, problems)
    again = [problem for problem in _problems(backup, tell) if problem.key not in known]
    broken = [problem for problem in again if problem.kind is ProblemKind.DATABASE]
    if broken:
        raise CorruptFileError(
            operation="verifying the backup",
            subject=str(backup.path),
            found="; ".join(f"{problem.subject}: {problem.found}" for problem in broken[:5]) + ".",
            hint="`learnd doctor` checks the store itself.",
        )
    return list(dict.fromkeys(problems + again))


def _problems(backup: DataFolder, tell: Progress) -> list[Problem]:
    connection = StoreConnection(backup.store_path, is_reader=True, read_limit_s=None)
    try:
        return IntegrityCheck(connection, backup, ParameterFolder(backup.parameters_path)).check(progress=tell)
    finally:
        connection.close()


def _repair_copy(backup: DataFolder, problems: list[Problem]) -> None:
    """Rebuild damaged indexes and remove damaged trials, in the copy only."""
    connection = StoreConnection(backup.store_path, is_reader=False)
    try:
        if any(problem.kind is ProblemKind.DATABASE for problem in problems):
            rebuild_indexes(connection)
            problems = IntegrityCheck(connection, backup, ParameterFolder(backup.parameters_path)).check()
        drop_trials(connection, damaged_trials(problems))
        connection.raw.execute("PRAGMA journal_mode = DELETE")
    finally:
        connection.close()
