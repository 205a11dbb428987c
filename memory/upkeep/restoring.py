"""Restore: put a backup in the place of a data folder's store, so that a kill at any moment leaves a whole store.

The new database is copied to a temporary name, brought to this schema, and verified. Its parameter files are added to
those that are there. The old store is linked into a folder of its own. One rename then changes the store. Until that
rename the old store is in place and whole; from it on the new one is. What a killed restore left behind is cleared by
the next restore or prune (:func:`settle_interrupted_restore`).
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
from memory.schema import migrate, require_tables
from memory.sqlite_library import FULL_HINT, is_out_of_room
from memory.tables.damage import DamageTable
from memory.upkeep.checking import IntegrityCheck, file_problem

_NEW_DATABASE = ".restore-{}.db.tmp"
_NEW_IDENTITY = ".restore-{}.id.tmp"
_ASIDE = ".replaced-{}.tmp"
_SETTLE_TIMEOUT_S = 15.0


class RestoreStep(StrEnum):
    """What a restore has just done; tests interrupt it after each of these."""

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
    """A restore under way: where its parts are, and what has to go if it fails.

    Attributes:
        folder: the data folder.
        backup: what is restored, as a data folder.
        reached: told of each step that is done.
        tell: told how far a step is.
        token: makes the temporary names unique.
        added: parameter files that were added to the folder, by sha256.
        old_files: parameter files that were there before, by sha256.
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
        return self.folder.path / _NEW_DATABASE.format(self.token)

    @property
    def identity_path(self) -> Path:
        return self.folder.path / _NEW_IDENTITY.format(self.token)


def restore(
    folder: DataFolder,
    backup_path: Path,
    *,
    progress: Progress | None = None,
    reached: Callable[[RestoreStep], None] | None = None,
) -> Path | None:
    """Put a backup in the place of a data folder's store; what was there is set aside, not removed.

    As root it leaves every file to the owner of the data folder.

    Args:
        folder: the data folder; nobody may hold it.
        backup_path: a folder that ``back_up`` made, here or copied from elsewhere; or a data folder, whose write-ahead
            log is restored too.
        progress: called with what is being done and how far it is.
        reached: called after each step.

    Returns:
        Where the replaced database is now; None if there was none.

    Raises:
        FolderInUseError: learnd runs on the folder.
        CorruptFileError: the backup does not pass the check; nothing was changed.
        StoreFullError: no room; nothing was changed.
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
    named = _named_aside(aside)
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
        CorruptFileError: a file of the backup is damaged, and its ``backup.json`` does not say so.
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
    """Bring the copy to this schema and check all of it; return its store's UUID.

    Raises:
        CorruptFileError: something is damaged that the backup does not name as damaged.
    """
    known = {(problem.kind, problem.key) for problem in read_backup(under_way.backup.path).damaged}
    copy = StoreConnection(under_way.database_path, is_reader=False)
    try:
        _bring_up_to_date(copy, under_way.backup)
        problems = IntegrityCheck(copy, under_way.folder, parameters).check(progress=under_way.tell)
        if unknown := [problem for problem in problems if (problem.kind, problem.key) not in known]:
            raise _damaged(under_way.backup, unknown)
        DamageTable(copy).replace(problems, with_learner_kinds=True)
        store_id = identity_of_database(copy)
        copy.raw.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()
    _fsync(under_way.database_path)
    return str(store_id)


def _bring_up_to_date(copy: StoreConnection, backup: DataFolder) -> None:
    """Migrate a copy; one from before stores had a UUID gets that of the backup's ``store-id``, if there is one."""
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
        hint=f"Restore another one, or try `learnd doctor --repair --data-dir {backup.path}` on a copy of it.",
    )


def _empty_log(folder: DataFolder) -> None:
    """Move the old store's write-ahead log into its database; a database that cannot be opened keeps its log.

    An empty database is not opened: SQLite would delete its log.
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
                    found="another program reads the store and does not end.",
                    hint="End it, then run the same command again.",
                    is_recoverable=True,
                )
            time.sleep(0.1)
    except CorruptFileError:
        return
    finally:
        with contextlib.suppress(CorruptFileError):
            connection.close()


def _log_paths(folder: DataFolder) -> list[Path]:
    return [folder.path / f"{folder.store_path.name}{suffix}" for suffix in ("-wal", "-shm")]


def _link_old(under_way: _Restore, parameters: ParameterFolder) -> Path | None:
    """Link the old store into a folder of its own; return that folder, None if there is no old database or log."""
    folder = under_way.folder
    log_path = _log_paths(folder)[0]
    has_log = log_path.exists() and log_path.stat().st_size > 0
    if not folder.store_path.exists() and not has_log:
        return None
    now = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime())
    aside = DataFolder(folder.path / _ASIDE.format(f"{now}-{under_way.token}"))
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
    """Give a file a second name; copy it where the file system has no hard links."""
    try:
        os.link(path, target)
    except OSError as error:
        if is_out_of_room(error):
            raise
        shutil.copy2(path, target)


def _swap(under_way: _Restore) -> None:
    """Put the new database in place by one rename, and the UUID after it.

    A missing ``store-id`` is written by the next start from the database, whichever database that is.
    """
    folder = under_way.folder
    for path in _log_paths(folder):
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


def _named_aside(aside: Path) -> Path:
    """Give what was set aside its name; return it."""
    named = aside.with_name(aside.name.removeprefix(".").removesuffix(".tmp"))
    aside.rename(named)
    fsync_folder(aside.parent)
    return named


def _remove_superseded(under_way: _Restore, parameters: ParameterFolder) -> None:
    """Remove the old store's parameter files that the new one does not refer to; they are in the set-aside folder."""
    connection = StoreConnection(under_way.folder.store_path, is_reader=True)
    try:
        wanted = {row["sha256"] for row in connection.rows("SELECT sha256 FROM parameter_files")}
    finally:
        connection.close()
    for sha256 in under_way.old_files - wanted:
        parameters.remove(sha256)


def _undo(under_way: _Restore) -> None:
    """Remove what a restore that failed before its rename has made; the old store is in place."""
    parameters = ParameterFolder(under_way.folder.parameters_path)
    with contextlib.suppress(OSError):
        for sha256 in under_way.added:
            if sha256 not in under_way.old_files:
                parameters.remove(sha256)
    with contextlib.suppress(OSError):
        settle_interrupted_restore(under_way.folder)


def settle_interrupted_restore(folder: DataFolder) -> None:
    """Clear what a killed restore left behind; the caller holds the data folder.

    Where the old store is still in place, its log and ``store-id`` are put back and the links to it are removed. Where
    the new one is, the set-aside folder gets its name: it is the only place of the old store.
    """
    for name in (_NEW_DATABASE, _NEW_IDENTITY):
        for path in folder.path.glob(f"{name.format('*')}*"):
            path.unlink(missing_ok=True)
    for aside in folder.path.glob(_ASIDE.format("*")):
        if _is_replaced(folder, aside):
            _named_aside(aside)
            continue
        for path in (aside / _log_paths(folder)[0].name, aside / FILE_NAME):
            if path.exists() and not (folder.path / path.name).exists():
                os.link(path, folder.path / path.name)
        shutil.rmtree(aside)


def _is_replaced(folder: DataFolder, aside: Path) -> bool:
    """Return whether the database that was set aside is no longer the store's."""
    old = aside / folder.store_path.name
    if not folder.store_path.exists():
        return old.exists()
    return not old.exists() or not old.samefile(folder.store_path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
