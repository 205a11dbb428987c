"""Backups: the database and every parameter file it refers to, verified before it has a name; and the way back."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from memory.checking import CheckRoom
from memory.connection import StoreConnection
from memory.errors import CorruptFileError, MemoryStoreError
from memory.folder import DataFolder
from memory.parameters import ParameterFolder, fsync_folder, sha256_of, write_durably
from memory.records import BackupReport, ParameterFile, Progress
from memory.sqlite_library import sqlite3, translated

_PAGES_AT_ONCE = 2_000


class BackupRoom:
    """The backups of a store: folders with the layout of a data folder, named by their time in UTC."""

    def __init__(self, folder: DataFolder, parameters: ParameterFolder, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._parameters = parameters
        self._clock = clock

    def back_up(self, *, keep: int, progress: Progress | None = None) -> BackupReport:
        """Make a backup, verify it, and only then give it its name; drop the oldest beyond ``keep``.

        The database is copied from one snapshot while others write. Parameter files never change, so a file that
        the backup before has, and that still matches its checksum, is shared with it (a hard link).

        Args:
            keep: how many backups to keep, at least 1.
            progress: called with what is being done and how far it is.

        Raises:
            CorruptFileError: the copy does not pass the check; no backup was left, older ones stay.
            StoreFullError: no room; no backup was left, older ones stay.
            ValueError: ``keep`` is below 1.
        """
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        started = time.monotonic()
        tell = progress or (lambda _what, _count: None)
        self._remove_unfinished()
        name = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
        unfinished = DataFolder(self._folder.backups_path / f".{name}.{secrets.token_hex(4)}.tmp")
        try:
            unfinished.parameters_path.mkdir(mode=0o700, parents=True)
            # From the snapshot to the last file's copy, the learner may not remove a file that it supersedes.
            with self._parameters.kept_still():
                self._copy_database(unfinished.store_path, tell)
                files, new_bytes = self._copy_files(unfinished, tell)
            _verify(unfinished, tell)
            path = self._folder.backups_path / name
            fsync_folder(unfinished.parameters_path)
            fsync_folder(unfinished.path)
            unfinished.path.rename(path)
            fsync_folder(self._folder.backups_path)
        except BaseException:
            shutil.rmtree(unfinished.path, ignore_errors=True)
            raise
        database_bytes = DataFolder(path).store_path.stat().st_size
        return BackupReport(
            path=path,
            size_bytes=database_bytes + sum(file.size_bytes for file in files),
            new_bytes=database_bytes + new_bytes,
            num_parameter_files=len(files),
            removed=self._remove_old(keep),
            duration_s=time.monotonic() - started,
        )

    def backups(self) -> list[Path]:
        """Return the finished backups, newest first."""
        return finished_backups(self._folder)

    def _remove_old(self, keep: int) -> tuple[str, ...]:
        old = self.backups()[keep:]
        for path in old:
            shutil.rmtree(path)
        return tuple(path.name for path in old)

    def _remove_unfinished(self) -> None:
        for path in self._folder.backups_path.glob(".*.tmp"):
            shutil.rmtree(path, ignore_errors=True)

    def _copy_database(self, target_path: Path, tell: Progress) -> None:
        source = StoreConnection(self._folder.store_path, is_reader=True, read_limit_s=None)
        target = sqlite3.connect(target_path, isolation_level=None)
        try:
            # Inside a snapshot the copy is of one state and never has to begin again when the learner commits.
            with source.snapshot("backing up the store"):
                source.rows("SELECT count(*) FROM sqlite_master")
                source.raw.backup(
                    target,
                    pages=_PAGES_AT_ONCE,
                    progress=lambda _status, remaining, total: tell("database pages", total - remaining),
                )
            with translated("backing up the store", target_path):
                # One plain file: no WAL beside it that a copy could forget.
                target.execute("PRAGMA journal_mode = DELETE")
        finally:
            target.close()
            source.close()

    def _copy_files(self, target: DataFolder, tell: Progress) -> tuple[list[ParameterFile], int]:
        """Bring every parameter file that the copied database refers to; return them and the bytes newly written."""
        copied = StoreConnection(target.store_path, is_reader=True, read_limit_s=None)
        try:
            found = copied.rows("SELECT sha256, size_bytes FROM parameter_files")
        finally:
            copied.close()
        files = [ParameterFile(sha256=row["sha256"], size_bytes=row["size_bytes"]) for row in found]
        before = next((ParameterFolder(DataFolder(path).parameters_path) for path in self.backups()), None)
        into = ParameterFolder(target.parameters_path)
        new_bytes = 0
        for number, file in enumerate(files, start=1):
            path = into.file_path(file.sha256)
            if before is None or not _shared(before.file_path(file.sha256), file, path):
                write_durably(path, self._parameters.read(file))
                new_bytes += file.size_bytes
            tell("parameter files", number)
        return files, new_bytes


def finished_backups(folder: DataFolder) -> list[Path]:
    """Return the backups of a data folder, newest first; its store itself may be damaged or gone."""
    return sorted((path for path in folder.backups_path.glob("[0-9]*Z") if path.is_dir()), reverse=True)


def _shared(held: Path, file: ParameterFile, path: Path) -> bool:
    """Link a file of the backup before into this one, if it is there and sound."""
    if not held.exists() or sha256_of(held.read_bytes()) != file.sha256:
        return False
    try:
        os.link(held, path)
    except OSError:
        return False
    return True


def _verify(backup: DataFolder, tell: Progress) -> None:
    connection = StoreConnection(backup.store_path, is_reader=True, read_limit_s=None)
    try:
        problems = CheckRoom(connection, backup, ParameterFolder(backup.parameters_path)).check(progress=tell)
    finally:
        connection.close()
    if problems:
        raise CorruptFileError(
            operation="verifying the backup",
            subject=str(backup.path),
            found="; ".join(f"{problem.subject}: {problem.found}" for problem in problems[:5]) + ".",
            hint="`learnd doctor` checks the store itself.",
        )


def restore(folder: DataFolder, backup_path: Path, *, progress: Progress | None = None) -> Path | None:
    """Put a backup in the place of a data folder's store; what was there is set aside, not removed.

    Args:
        folder: the data folder; nobody may hold it.
        backup_path: a folder that ``back_up`` made, here or copied from elsewhere.
        progress: called with what is being done and how far it is.

    Returns:
        Where the replaced database is now; None if there was none.

    Raises:
        FolderInUseError: learnd runs on the folder.
        CorruptFileError: the backup does not pass the check; nothing was changed.
    """
    backup = DataFolder(backup_path)
    if not backup.store_path.exists():
        raise MemoryStoreError(
            operation="restoring the backup",
            subject=str(backup_path),
            found="there is no learnd.db in it.",
            hint="Name one of the folders in backups/.",
        )
    folder.create()
    with folder.hold("control"), folder.hold("learner"):
        _verify(backup, progress or (lambda _what, _count: None))
        source, into = ParameterFolder(backup.parameters_path), ParameterFolder(folder.parameters_path)
        for sha256 in source.listed():
            path = into.file_path(sha256)
            content = source.file_path(sha256).read_bytes()
            if not path.exists() or path.read_bytes() != content:
                write_durably(path, content)
        aside = _set_aside(folder)
        write_durably(folder.store_path, backup.store_path.read_bytes())
        return aside


def _set_aside(folder: DataFolder) -> Path | None:
    """Move the present database away together with its WAL, which belongs to it and to no other."""
    if not folder.store_path.exists():
        return None
    aside = folder.path / f"replaced-{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime())}-{secrets.token_hex(2)}"
    aside.mkdir(mode=0o700)
    name = folder.store_path.name
    for part in (f"{name}-wal", f"{name}-shm", name):
        if (path := folder.path / part).exists():
            path.rename(aside / part)
    fsync_folder(folder.path)
    return aside / name
