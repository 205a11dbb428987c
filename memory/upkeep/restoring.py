"""Restore of a backup as a data folder's store, in steps. A kill at any moment leaves a complete store.

1. Copy the new database to a temporary name, migrate it to this schema and verify it.
2. Add its parameter files to those of the folder.
3. Link the old store into a separate folder.
4. Replace the database by one rename. Before the rename the complete old store is in place, after it the new one.

The next restore or prune cleans up after a killed restore (:mod:`memory.upkeep.interrupted_restore`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from memory.connection import StoreConnection
from memory.errors import CorruptFileError, MemoryStoreError, StoreBusyError, StoreFullError
from memory.files.backup_record import read_backup
from memory.files.database_copy import copy_database
from memory.files.intact_copies import intact_copy
from memory.files.parameters import ParameterFolder, fsync_folder, sha256_of, write_durably
from memory.folder import DataFolder
from memory.identity import FILE_NAME, identity_of_database, identity_of_folder
from memory.ownership import give_to_owner
from memory.records import ParameterFile, Problem, Progress
from memory.repair_hint import REPAIR_COMMAND
from memory.schema import migrate, require_tables
from memory.sqlite_library import FULL_HINT, is_out_of_room
from memory.tables.daemon_status import DaemonStatusTable
from memory.tables.damage import DamageTable
from memory.upkeep.checking import IntegrityCheck, file_problem
from memory.upkeep.interrupted_restore import (
    ASIDE,
    NEW_DATABASE,
    NEW_IDENTITY,
    log_paths,
    name_set_aside_folder,
    settle_interrupted_restore,
)

_SETTLE_TIMEOUT_S = 15.0


class RestoreStep(StrEnum):
    """A completed step of a restore; tests interrupt a restore after each step."""

    HELD = "held"
    DATABASE_COPIED = "database_copied"
    FILES_COPIED = "files_copied"
    VERIFIED = "verified"
    LOG_EMPTIED = "log_emptied"
    OLD_LINKED = "old_linked"
    LOG_REMOVED = "log_removed"
    SWAPPED = "swapped"
    IDENTIFIED = "identified"
    NAMED = "named"


@dataclass(kw_only=True)
class _Restore:
    """A restore in progress: the paths of its parts, and the files to remove if it fails.

    Attributes:
        folder: the data folder.
        backup: the backup, which has the layout of a data folder.
        reached: called after each step.
        tell: called with the progress of a step.
        token: a random text that makes the temporary names unique.
        added: sha256 of the parameter files that were added to the folder.
        old_files: sha256 of the parameter files that were in the folder before.
        is_swapped: whether the new database is in place.
    """

    folder: DataFolder
    backup: DataFolder
    reached: Callable[[RestoreStep], None]
    tell: Progress
    token: str = field(default_factory=lambda: secrets.token_hex(4))
    added: list[str] = field(default_factory=list)
    old_files: frozenset[str] = frozenset()
    is_swapped: bool = False

    @property
    def database_path(self) -> Path:
        return self.folder.path / NEW_DATABASE.format(self.token)

    @property
    def identity_path(self) -> Path:
        return self.folder.path / NEW_IDENTITY.format(self.token)


def _require_databases(folder: DataFolder, backup: DataFolder) -> None:
    if not backup.store_path.exists():
        raise MemoryStoreError(
            operation="restoring the backup",
            subject=str(backup.path),
            found="there is no learnd.db in it.",
            hint="Name one of the folders in backups/.",
        )
    if folder.store_path.is_dir():
        raise MemoryStoreError(
            operation="restoring the backup",
            subject=str(folder.store_path),
            found="it is a folder, not a database.",
            hint="Move it away, then run the same command again.",
        )


def restore(
    folder: DataFolder,
    backup_path: Path,
    *,
    progress: Progress | None = None,
    reached: Callable[[RestoreStep], None] | None = None,
) -> Path | None:
    """Replace a data folder's store by a backup. The old store is moved into another folder, not removed.

    If the process runs as root, all files are given to the owner of the data folder.

    Args:
        folder: the data folder, which no process may hold.
        backup_path: a folder that ``back_up`` made, in this data folder or copied from elsewhere; or a data folder,
            whose write-ahead log is restored too.
        progress: called with the kind of items being processed and the number processed so far.
        reached: called after each step.

    Returns:
        The path of the replaced database; None if there was no database.

    Raises:
        FolderInUseError: learnd runs on the folder.
        CorruptFileError: the backup does not pass the check; nothing was changed.
        StoreFullError: the disk is full; nothing was changed.
    """
    backup = DataFolder(backup_path)
    _require_databases(folder, backup)
    folder.create()
    try:
        with folder.hold("control"), folder.hold("learner"):
            give_to_owner(folder.path)
            settle_interrupted_restore(folder)
            under_way = _Restore(
                folder=folder,
                backup=backup,
                reached=reached or (lambda _step: None),
                tell=progress or (lambda _what, _count: None),
            )
            return _run(under_way)
    finally:
        give_to_owner(folder.path)


def _run(under_way: _Restore) -> Path | None:
    try:
        return _replace(under_way)
    except BaseException as error:
        if not under_way.is_swapped:
            _undo(under_way)
        if isinstance(error, OSError):
            raise _explained(error, under_way) from error
        raise


def _explained(error: OSError, under_way: _Restore) -> MemoryStoreError:
    state = "the restored store is in place" if under_way.is_swapped else "the store is as it was"
    kind = StoreFullError if is_out_of_room(error) else MemoryStoreError
    return kind(
        operation="restoring the backup",
        subject=str(under_way.backup.path),
        found=f"{error.strerror or error}; {state}.",
        hint=FULL_HINT if is_out_of_room(error) else "Run the same command again.",
        is_recoverable=True,
    )


def _replace(under_way: _Restore) -> Path | None:
    folder, reached = under_way.folder, under_way.reached
    reached(RestoreStep.HELD)
    parameters = ParameterFolder(folder.parameters_path)
    under_way.old_files = frozenset(parameters.listed())
    _copy_database(under_way)
    reached(RestoreStep.DATABASE_COPIED)
    with parameters.kept_still():
        _copy_files(under_way, parameters)
        reached(RestoreStep.FILES_COPIED)
        store_id = _verify(under_way, parameters)
        write_durably(under_way.identity_path, f"{store_id}\n".encode("ascii"))
        give_to_owner(folder.path)
        reached(RestoreStep.VERIFIED)
        _empty_log(folder)
        reached(RestoreStep.LOG_EMPTIED)
        aside = _link_old(under_way, parameters)
        reached(RestoreStep.OLD_LINKED)
        _swap(under_way)
    if aside is None:
        return None
    named = name_set_aside_folder(aside)
    _remove_superseded(under_way, parameters)
    reached(RestoreStep.NAMED)
    return named / folder.store_path.name


def _copy_database(under_way: _Restore) -> None:
    source = StoreConnection(under_way.backup.store_path, is_reader=True, read_limit_s=None)
    try:
        require_tables(source)
        copy_database(source, under_way.database_path, under_way.tell)
    finally:
        source.close()


def _copy_files(under_way: _Restore, into: ParameterFolder) -> None:
    """Add the parameter files that the copy refers to.

    Raises:
        CorruptFileError: a file of the backup is damaged, and its ``backup.json`` does not list the file as damaged.
    """
    source = ParameterFolder(under_way.backup.parameters_path)
    known = {problem.key for problem in read_backup(under_way.backup.path).damaged}
    copied = StoreConnection(under_way.database_path, is_reader=True, read_limit_s=None)
    try:
        wanted = copied.rows("SELECT sha256, size_bytes FROM parameter_files")
    finally:
        copied.close()
    for number, row in enumerate(wanted, start=1):
        file = ParameterFile(sha256=row["sha256"], size_bytes=row["size_bytes"])
        try:
            content = intact_copy(under_way.folder, file.sha256) if file.sha256 in known else source.read(file)
        except CorruptFileError as error:
            raise _damaged(under_way.backup, [file_problem(file.sha256, error)]) from error
        path = into.file_path(file.sha256)
        if content is not None and not (path.exists() and sha256_of(path.read_bytes()) == file.sha256):
            under_way.added.append(file.sha256)
            write_durably(path, content)
        under_way.tell("parameter files", number)


def _verify(under_way: _Restore, parameters: ParameterFolder) -> str:
    """Migrate the copy to this schema and check all of it; return its store's UUID.

    Raises:
        CorruptFileError: the check found a problem that the backup does not list as damaged.
    """
    known = {(problem.kind, problem.key) for problem in read_backup(under_way.backup.path).damaged}
    copy = StoreConnection(under_way.database_path, is_reader=False)
    try:
        _bring_up_to_date(copy, under_way.backup)
        problems = IntegrityCheck(copy, under_way.folder, parameters).check(progress=under_way.tell)
        if unknown := [problem for problem in problems if (problem.kind, problem.key) not in known]:
            raise _damaged(under_way.backup, unknown)
        DamageTable(copy).replace(problems, with_learner_kinds=True)
        DaemonStatusTable(copy).clear()
        store_id = identity_of_database(copy)
        copy.raw.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()
    _fsync(under_way.database_path)
    return str(store_id)


def _bring_up_to_date(copy: StoreConnection, backup: DataFolder) -> None:
    """Migrate a copy. A copy without a UUID gets the UUID of the backup's ``store-id``, if there is one."""
    had_identity = identity_of_database(copy) is not None
    migrate(copy)
    store_id = identity_of_folder(backup.path)
    if store_id is not None and not had_identity:
        with copy.transaction("giving the store its UUID"):
            copy.execute("UPDATE store_identity SET uuid = ? WHERE id = 1", (store_id,))


def _damaged(backup: DataFolder, problems: list[Problem]) -> CorruptFileError:
    return CorruptFileError(
        operation="verifying the backup",
        subject=str(backup.path),
        found="; ".join(f"{problem.subject}: {problem.found}" for problem in problems[:5]) + ".",
        hint=f"Restore another one, or try `{REPAIR_COMMAND} --data-dir {backup.path}` on a copy of it.",
    )


def _empty_log(folder: DataFolder) -> None:
    """Move the old store's write-ahead log into its database. A database that cannot be opened keeps its log.

    An empty database is not opened, because SQLite would delete its log.
    """
    path = folder.store_path
    if not path.exists() or path.stat().st_size == 0:
        return
    try:
        connection = StoreConnection(path, is_reader=False)
    except CorruptFileError:
        return
    try:
        deadline = time.monotonic() + _SETTLE_TIMEOUT_S
        while not connection.truncate_wal():
            if time.monotonic() > deadline:
                raise StoreBusyError(
                    operation="restoring the backup",
                    subject=str(path),
                    found="another program reads the store and does not finish.",
                    hint="Stop that program, then run the same command again.",
                    is_recoverable=True,
                )
            time.sleep(0.1)
    except CorruptFileError:
        return
    finally:
        with contextlib.suppress(CorruptFileError):
            connection.close()


def _link_old(under_way: _Restore, parameters: ParameterFolder) -> Path | None:
    """Link the old store into a separate folder; return the folder, or None if there is no old database or log."""
    folder = under_way.folder
    log_path = log_paths(folder)[0]
    has_log = log_path.exists() and log_path.stat().st_size > 0
    if not folder.store_path.exists() and not has_log:
        return None
    now = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime())
    aside = DataFolder(folder.path / ASIDE.format(f"{now}-{under_way.token}"))
    aside.parameters_path.mkdir(mode=0o700, parents=True)
    for path in (folder.store_path, *([log_path] if has_log else []), folder.path / FILE_NAME):
        if path.exists():
            _link(path, aside.path / path.name)
    into = ParameterFolder(aside.parameters_path)
    for sha256 in under_way.old_files:
        if parameters.file_path(sha256).exists():
            _link(parameters.file_path(sha256), into.file_path(sha256))
    give_to_owner(folder.path)
    fsync_folder(aside.parameters_path)
    fsync_folder(aside.path)
    fsync_folder(folder.path)
    return aside.path


def _link(path: Path, target: Path) -> None:
    """Link a file; copy it if the file system has no hard links."""
    try:
        os.link(path, target)
    except OSError as error:
        if is_out_of_room(error):
            raise
        shutil.copy2(path, target)


def _swap(under_way: _Restore) -> None:
    """Put the new database in place by one rename, then the file with its UUID.

    If the process is killed in between, the next start writes the missing ``store-id`` from the database in place.
    """
    folder = under_way.folder
    for path in log_paths(folder):
        path.unlink(missing_ok=True)
    identity = under_way.identity_path.read_text(encoding="ascii").strip()
    if identity_of_folder(folder.path) != identity:
        (folder.path / FILE_NAME).unlink(missing_ok=True)
    fsync_folder(folder.path)
    under_way.reached(RestoreStep.LOG_REMOVED)
    under_way.database_path.rename(folder.store_path)
    under_way.is_swapped = True
    fsync_folder(folder.path)
    under_way.reached(RestoreStep.SWAPPED)
    under_way.identity_path.rename(folder.path / FILE_NAME)
    fsync_folder(folder.path)
    under_way.reached(RestoreStep.IDENTIFIED)


def _remove_superseded(under_way: _Restore, parameters: ParameterFolder) -> None:
    """Remove the old store's parameter files that the new store does not need; the set-aside folder has them."""
    with contextlib.closing(StoreConnection(under_way.folder.store_path, is_reader=True)) as connection:
        wanted = {row["sha256"] for row in connection.rows("SELECT sha256 FROM parameter_files")}
    for sha256 in under_way.old_files - wanted:
        parameters.remove(sha256)


def _undo(under_way: _Restore) -> None:
    """Remove the files of a restore that failed before its rename; the old store is in place."""
    parameters = ParameterFolder(under_way.folder.parameters_path)
    with contextlib.suppress(OSError):
        for sha256 in under_way.added:
            if sha256 not in under_way.old_files:
                parameters.remove(sha256)
    with contextlib.suppress(OSError):
        settle_interrupted_restore(under_way.folder)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
