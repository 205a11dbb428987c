"""A restore of a backup into a temporary folder, which shows that the backup can be used. Nothing else changes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from memory.files.backup_record import read_backup
from memory.folder import DataFolder
from memory.records import Progress
from memory.tables.overview import read_overview
from memory.upkeep.drill_folder import drill_folder, remove_abandoned_drills
from memory.upkeep.restoring import restore


@dataclass(frozen=True, kw_only=True)
class RestoreDrill:
    """A finished restore into a temporary folder, which was removed.

    Attributes:
        num_families: families in the restored store, without removed ones.
        num_trials: trials that they practised.
        policy_version: the version that is served; None if none is published.
        size_bytes: size of the restored database and its parameter files.
        duration_s: duration of the restore with its checks, in seconds.
        damaged: the parts that were damaged when the backup was made.
    """

    num_families: int
    num_trials: int
    policy_version: int | None
    size_bytes: int
    duration_s: float
    damaged: tuple[str, ...]


def restore_drill(backup_path: Path, *, within: Path, progress: Progress | None = None) -> RestoreDrill:
    """Restore a backup into a temporary folder, read the restored store and remove the folder.

    Folders of earlier drills that were killed are removed first, because each has the size of a store.

    Args:
        backup_path: the backup.
        within: an existing folder on the disk that is to hold the temporary folder.
        progress: called with the kind of items being processed and the number processed so far.

    Raises:
        CorruptFileError: the backup does not pass the check.
        StoreFullError: the disk has no space for a second store.
    """
    started = time.monotonic()
    remove_abandoned_drills(within)
    with drill_folder(within) as place:
        folder = DataFolder(place / "learnd")
        restore(folder, backup_path, progress=progress)
        overview = read_overview(folder)
        files = [folder.store_path, *(path for path in folder.parameters_path.rglob("*") if path.is_file())]
        return RestoreDrill(
            num_families=len(overview["families"]),
            num_trials=sum(family["trials"] for family in overview["families"]),
            policy_version=overview["policy_version"],
            size_bytes=sum(path.stat().st_size for path in files),
            duration_s=time.monotonic() - started,
            damaged=tuple(f"{problem.subject}: {problem.found}" for problem in read_backup(backup_path).damaged),
        )
