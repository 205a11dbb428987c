"""The checks of ``learnd doctor`` of the data folder, its file system, the store and its backups."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.cli.doctor_findings import CheckContext, Finding, Repair, Verdict
from agent.cli.doctor_repairs import (
    ballast,
    missing_folders,
    no_leftovers,
    own_files,
    private_folder,
    rebuilt_store,
    writable_files,
)
from agent.output.quantities import short_size
from memory.folder import DataFolder
from memory.ownership import foreign_paths, paths_in
from memory.records import Problem, ProblemKind
from memory.repair_hint import REPAIR_COMMAND, STOP_AND_REPAIR
from memory.upkeep.leftovers import unfinished_paths

NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs"})
LEAST_FREE_BYTES = 256 * 2**20
SCARCE_FREE_BYTES = 2 * 2**30
LARGE_WAL_BYTES = 128 * 2**20

PRUNE = Repair(what="remove what is beyond the limits", command="learnd schedule run-now prune")
REPAIR = Repair(what="repair the store, with learnd stopped", command=REPAIR_COMMAND)
RESTORE = Repair(what="restore the newest backup, with learnd stopped", command="learnd memory restore newest")


def data_folder(context: CheckContext) -> Iterator[Finding]:
    """Check that the data folder exists, and that this user, and no other user, may write to it."""
    path = context.folder.path
    if not path.exists():
        hint = "learnd run creates it."
        repair = Repair(what="start the service", command="learnd run")
        found = f"{path} does not exist yet"
        yield Finding(check="data folder", verdict=Verdict.WARN, found=found, hint=hint, repair=repair)
        return
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        hint = "Run this command as the user that the daemon runs as, or change the owner of the folder."
        yield Finding(check="data folder", verdict=Verdict.FAIL, found=f"{path} cannot be written", hint=hint)
        return
    yield _privacy(path)
    parts = (context.folder.parameters_path, context.folder.backups_path)
    missing = [part for part in parts if not part.exists()] if context.folder.store_path.exists() else []
    if missing:
        found = f"{', '.join(part.name for part in missing)} is missing in {path}"
        hint = "The daemon makes it at its next start; what was in it is lost."
        repair = missing_folders(context.folder, missing)
        yield Finding(check="data folder", verdict=Verdict.WARN, found=found, hint=hint, repair=repair)


def _privacy(path: Path) -> Finding:
    """Return the finding on who may enter the data folder."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o077:
        return Finding(check="data folder", verdict=Verdict.OK, found=f"{path} (mode {mode:04o})")
    verdict, found = Verdict.WARN, f"{path} is open to other users (mode {mode:04o})"
    if mode & 0o022:
        verdict, found = Verdict.FAIL, f"other users may write to {path} (mode {mode:04o})"
    hint = f"chmod 700 {path}"
    return Finding(check="data folder", verdict=verdict, found=found, hint=hint, repair=private_folder(path))


def store_identity(context: CheckContext) -> Iterator[Finding]:
    """Check that the database belongs to the data folder: both must have the same UUID."""
    from memory.identity import FILE_NAME, foreign_store_error, identity_of_folder

    recorded = None if context.store is None else context.store.identity()
    if recorded is None:
        return
    found = identity_of_folder(context.folder.path)
    if found == recorded:
        yield Finding(check="store identity", verdict=Verdict.OK, found=f"UUID {recorded}")
    elif found is None:
        hint = "The daemon writes it at its next start."
        yield Finding(check="store identity", verdict=Verdict.WARN, found=f"{FILE_NAME} is missing", hint=hint)
    else:
        error = foreign_store_error(context.folder, recorded=recorded, found=found, operation="checking the store")
        yield Finding(check="store identity", verdict=Verdict.FAIL, found=error.found, hint=error.hint, repair=RESTORE)


def file_system(context: CheckContext) -> Iterator[Finding]:
    """Check that the data folder is on a local file system with enough free space."""
    path = _nearest_existing(context.folder.path)
    kind = _file_system_kind(path)
    if kind in NETWORK_FILE_SYSTEMS:
        found, hint = f"{path} is on {kind}", "SQLite's WAL needs a local file system: use another --data-dir."
        yield Finding(check="file system", verdict=Verdict.FAIL, found=found, hint=hint)
    free = shutil.disk_usage(path).free
    found = f"{short_size(free)} free" + (f" on {kind}" if kind else "")
    hint = "Free some space, or lower memory.max_size."
    if free < LEAST_FREE_BYTES:
        yield Finding(check="free space", verdict=Verdict.FAIL, found=found, hint=hint, repair=PRUNE)
    elif free < SCARCE_FREE_BYTES:
        yield Finding(check="free space", verdict=Verdict.WARN, found=found, hint=hint, repair=PRUNE)
    else:
        yield Finding(check="free space", verdict=Verdict.OK, found=found)


def store_integrity(context: CheckContext) -> Iterator[Finding]:
    """Check that every row, episode and parameter file is intact."""
    if context.store is None:
        return
    problems = context.store.check(progress=lambda what, count: context.tell(f"reading {what} {count or ''}"))
    if not problems:
        yield Finding(check="store", verdict=Verdict.OK, found="every row, episode and parameter file is intact")
    repair = _repair_of(context, problems)
    for problem in problems:
        found = f"{problem.subject}: {problem.found}"
        yield Finding(check="store", verdict=Verdict.FAIL, found=found, hint=problem.hint, repair=repair)


def _repair_of(context: CheckContext, problems: list[Problem]) -> Repair:
    """Return the repair of a damaged store: a rebuilding, if that is enough and learnd does not run."""
    from memory.upkeep.rebuilding import is_rebuildable

    if is_rebuildable(problems) and not _is_held(context.folder):
        return rebuilt_store(context.folder, tell=context.tell)
    return REPAIR


def _is_held(folder: DataFolder) -> bool:
    return folder.holder_pid() is not None or folder.holder_pid("learner") is not None


def store_size(context: CheckContext) -> Iterator[Finding]:
    """Check that the store stays near its size limit, and that SQLite resets the write-ahead log."""
    if context.store is None:
        return
    stats = context.store.stats.memory_stats()
    found = f"{short_size(stats.size_bytes)}: {stats.trials} trials, {stats.episodes} episodes stored"
    limit = context.settings.memory.max_size
    if stats.size_bytes > 1.5 * limit:
        hint = f"memory.max_size is {short_size(limit)}. To prune now, run: learnd schedule run-now prune"
        yield Finding(check="size", verdict=Verdict.WARN, found=found, hint=hint, repair=PRUNE)
    else:
        yield Finding(check="size", verdict=Verdict.OK, found=found)
    if stats.wal_bytes > LARGE_WAL_BYTES:
        found = f"the write-ahead log has grown to {short_size(stats.wal_bytes)}"
        hint = "Some process keeps a read transaction on learnd.db open: stop that process."
        yield Finding(check="write-ahead log", verdict=Verdict.WARN, found=found, hint=hint)


def ownership(context: CheckContext) -> Iterator[Finding]:
    """Check that every file belongs to the owner of the data folder, and that the owner can write it."""
    folder = context.folder.path
    if not folder.is_dir():
        return
    owner = folder.stat()
    if foreign := foreign_paths(folder):
        found = f"{len(foreign)} files do not belong to the folder's owner (uid {owner.st_uid}), such as {foreign[0]}"
        repair = own_files(folder, foreign)
        hint = f"The daemon cannot write them: {repair.command}"
        yield Finding(check="ownership", verdict=Verdict.FAIL, found=found, hint=hint, repair=repair)
    elif unwritable := _unwritable(folder):
        found = f"{len(unwritable)} files cannot be written by their owner, such as {unwritable[0]}"
        repair = writable_files(folder, unwritable)
        yield Finding(check="ownership", verdict=Verdict.FAIL, found=found, hint=repair.command, repair=repair)
    else:
        yield Finding(check="ownership", verdict=Verdict.OK, found=f"every file belongs to uid {owner.st_uid}")


def _unwritable(folder: Path) -> list[Path]:
    """Return paths whose mode denies their owner the access that the daemon needs.

    Folders need every permission, files that are rewritten need read and write permission, other files need read
    permission.
    """
    found = []
    for path in paths_in(folder):
        with contextlib.suppress(FileNotFoundError):
            mode = path.lstat().st_mode
            is_written = path.parent == folder and path.name.startswith(("learnd.db", "control.", "learner."))
            needed = stat.S_IRWXU if stat.S_ISDIR(mode) else stat.S_IWUSR | stat.S_IRUSR if is_written else stat.S_IRUSR
            if not stat.S_ISLNK(mode) and mode & needed != needed:
                found.append(path)
    return found


def backups(context: CheckContext) -> Iterator[Finding]:
    """Check that the newest backup was made without damage, and that no backup is from the future."""
    from memory.files.backup_record import listed_backups

    listed = listed_backups(context.folder)
    now = time.time()
    if future := [backup.path.name for backup in listed if backup.is_from_future(now)]:
        found = f"{len(future)} backups are from the future, such as {future[0]}"
        hint = "The clock was ahead when they were made, or it is behind now: see `date`."
        yield Finding(check="backups", verdict=Verdict.WARN, found=found, hint=hint)
    if listed and not any(backup.is_clean for backup in listed):
        found, hint = "no backup is clean", f"{STOP_AND_REPAIR} Then make a backup."
        yield Finding(check="backups", verdict=Verdict.WARN, found=found, hint=hint, repair=REPAIR)
    elif listed and not listed[0].is_clean:
        found = f"the newest backup is not clean: {listed[0].path.name}"
        hint = f"The store was damaged when the backup was made. {STOP_AND_REPAIR}"
        yield Finding(check="backups", verdict=Verdict.WARN, found=found, hint=hint, repair=REPAIR)
    if not future and (not listed or listed[0].is_clean):
        yield Finding(check="backups", verdict=Verdict.OK, found=f"{len(listed)} backups")


def known_damage(context: CheckContext) -> Iterator[Finding]:
    """Check that no damage is recorded, and that the trainer did not fall back to an older checkpoint."""
    if context.store is None:
        return
    for problem in context.store.damage.all():
        is_lost = problem.kind is ProblemKind.CHECKPOINT_LOST
        verdict = Verdict.FAIL if is_lost else Verdict.WARN
        found = f"{problem.subject}: {problem.found}"
        yield Finding(check="known damage", verdict=verdict, found=found, hint=problem.hint, repair=REPAIR)


def leftovers(context: CheckContext) -> Iterator[Finding]:
    """Check that no unfinished files are left over, and that the ballast file exists."""
    folder = context.folder
    if not folder.path.is_dir():
        return
    if abandoned := unfinished_paths(folder):
        found = f"{len(abandoned)} unfinished files of a killed writer, such as {abandoned[0].name}"
        commands = "; ".join(sorted({_removal_of(path, folder) for path in abandoned}))
        by_hand = Repair(what="remove the unfinished files", command=commands)
        repair = by_hand if _is_held(folder) else no_leftovers(folder)
        hint = f"To remove them: {commands}."
        yield Finding(check="leftovers", verdict=Verdict.WARN, found=found, hint=hint, repair=repair)
    elif folder.store_path.exists() and not folder.ballast_path.exists():
        found, hint = (
            "the ballast file is missing",
            "It was deleted when the disk was full. The daemon creates it again at its next start.",
        )
        yield Finding(check="leftovers", verdict=Verdict.WARN, found=found, hint=hint, repair=ballast(folder))
    else:
        yield Finding(check="leftovers", verdict=Verdict.OK, found="no unfinished file")


def _removal_of(path: Path, folder: DataFolder) -> str:
    """Return the command that removes an unfinished file or folder."""
    from memory.upkeep.drill_folder import DRILL_PREFIX

    if path.parent == folder.backups_path:
        return "learnd schedule run-now backup"
    if path.name.startswith(DRILL_PREFIX):
        return f"rm -r {shlex.quote(str(path))}"
    return "learnd schedule run-now prune"


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _file_system_kind(path: Path) -> str:
    import psutil

    mounts: list[Any] = [m for m in psutil.disk_partitions(all=True) if path.is_relative_to(m.mountpoint)]
    return str(max(mounts, key=lambda mount: len(mount.mountpoint)).fstype) if mounts else ""
