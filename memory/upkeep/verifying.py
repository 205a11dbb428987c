"""A new check of finished backups: a disk can damage a backup long after it was made and verified."""

from __future__ import annotations

from memory.connection import StoreConnection
from memory.errors import DamagedBackupsError, MemoryStoreError
from memory.files.backup_record import Backup, listed_backups
from memory.files.parameters import ParameterFolder
from memory.folder import DataFolder
from memory.records import BackupCheckReport, Progress
from memory.upkeep.checking import IntegrityCheck

MAX_NAMED = 5


def verify_backups(folder: DataFolder, *, progress: Progress | None = None) -> BackupCheckReport:
    """Check every finished backup of a data folder as completely as when it was made.

    Args:
        folder: the data folder.
        progress: called with the kind of items being processed and the number processed so far.

    Raises:
        DamagedBackupsError: backups are damaged; the error names them.
    """
    tell = progress or (lambda _what, _count: None)
    backups = listed_backups(folder)
    damaged = {backup.path.name: found for backup in backups if (found := _damage_of(backup, tell))}
    if damaged:
        raise DamagedBackupsError(
            operation="verifying the backups in",
            subject=str(folder.backups_path),
            found="; ".join(f"{name} is damaged: {found}" for name, found in list(damaged.items())[:MAX_NAMED]) + ".",
            hint="Make a new one (`learnd schedule run-now backup`), then delete the damaged folders in backups/.",
            backups=tuple(damaged),
        )
    return BackupCheckReport(checked=tuple(backup.path.name for backup in backups))


def _damage_of(backup: Backup, tell: Progress) -> str:
    """Return the damage that the backup's record does not name; empty if there is none."""
    known = {(problem.kind, problem.key) for problem in backup.damaged}
    try:
        connection = StoreConnection(DataFolder(backup.path).store_path, is_reader=True, read_limit_s=None)
        try:
            parameters = ParameterFolder(DataFolder(backup.path).parameters_path)
            problems = IntegrityCheck(connection, DataFolder(backup.path), parameters).check(progress=tell)
        finally:
            connection.close()
    except MemoryStoreError as error:
        return error.found.rstrip(".")
    except OSError as error:
        return error.strerror or str(error)
    unknown = [problem for problem in problems if (problem.kind, problem.key) not in known]
    return "; ".join(f"{problem.subject}: {problem.found.rstrip('.')}" for problem in unknown[:MAX_NAMED])
