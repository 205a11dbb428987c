"""The repairs that ``learnd doctor --fix`` makes. None removes anything that learnd or a user needs."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from agent.cli.doctor_findings import Finding, Repair
from agent.errors import AgentError
from memory.errors import MemoryStoreError
from memory.folder import DataFolder
from memory.ownership import give_to_owner

FIX = "learnd doctor --fix"


class FixOutcome(StrEnum):
    """The outcome of a repair."""

    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Fix:
    """A report of a repair that was tried.

    Attributes:
        check: the check whose finding it repairs.
        what: what it does, in the imperative.
        command: the command that it stands for.
        outcome: what became of it.
        detail: why it failed; empty if it did not.
    """

    check: str
    what: str
    command: str
    outcome: FixOutcome
    detail: str = ""


def fixed(findings: Sequence[Finding], *, tell: Callable[[str], None]) -> Iterator[Fix]:
    """Make each safe repair of some findings once, and yield a report of each.

    Args:
        findings: the findings.
        tell: called with what a repair does before it is made.
    """
    made: set[tuple[str, str]] = set()
    for finding in findings:
        repair = finding.repair
        if repair is None or repair.run is None or (finding.check, repair.command) in made:
            continue
        made.add((finding.check, repair.command))
        tell(repair.what)
        try:
            repair.run()
        except (AgentError, MemoryStoreError, OSError) as error:
            detail = error.found if isinstance(error, (AgentError, MemoryStoreError)) else str(error.strerror or error)
            outcome = FixOutcome.FAILED
        else:
            detail, outcome = "", FixOutcome.DONE
        yield Fix(check=finding.check, what=repair.what, command=repair.command, outcome=outcome, detail=detail)


def private_folder(path: Path) -> Repair:
    """Return the repair of a data folder that other users may enter."""
    command = f"chmod 700 {shlex.quote(str(path))}"
    return Repair(what="close the data folder to other users", command=command, run=lambda: path.chmod(0o700))


def private_file(path: Path, *, owner: int) -> Repair:
    """Return the repair of a file that other users may read. It is safe if the user that reads it owns it.

    Args:
        path: the file.
        owner: the user that the service runs as.
    """
    is_own = path.stat().st_uid == owner
    run = (lambda: path.chmod(0o600)) if is_own else None
    return Repair(what="close the file to other users", command=f"chmod 600 {shlex.quote(str(path))}", run=run)


def own_files(folder: Path, paths: Iterable[Path]) -> Repair:
    """Return the repair of files that do not belong to the owner of their data folder; root makes it by itself.

    Files with several names are left out, because another name may be outside of the folder.
    """
    owner, listed = folder.stat(), list(paths)

    def run() -> None:
        for path in listed:
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode) or found.st_nlink == 1:
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    command = f"chown -R {owner.st_uid}:{owner.st_gid} {shlex.quote(str(folder))}"
    run_by_root = run if os.geteuid() == 0 else None
    return Repair(what="give the files to the owner of the data folder", command=command, run=run_by_root)


def writable_files(folder: Path, paths: Iterable[Path]) -> Repair:
    """Return the repair of files that their owner cannot read or write."""
    listed = list(paths)

    def run() -> None:
        for path in listed:
            mode = path.stat().st_mode
            path.chmod(stat.S_IMODE(mode) | stat.S_IRUSR | stat.S_IWUSR | (stat.S_IXUSR if stat.S_ISDIR(mode) else 0))

    command = f"chmod -R u+rwX {shlex.quote(str(folder))}"
    return Repair(what="let their owner read and write the files", command=command, run=run)


def missing_folders(folder: DataFolder, paths: Iterable[Path]) -> Repair:
    """Return the repair of a data folder that lacks some of its folders."""
    listed = list(paths)

    def run() -> None:
        for path in listed:
            path.mkdir(mode=0o700, exist_ok=True)
        give_to_owner(folder.path)

    return Repair(what="make the missing folders", command=f"mkdir -m 700 {shlex.join(map(str, listed))}", run=run)


def no_leftovers(folder: DataFolder) -> Repair:
    """Return the repair of a data folder with unfinished files; learnd must not run on it."""
    from memory.upkeep.leftovers import remove_unfinished

    def run() -> None:
        remove_unfinished(folder)

    return Repair(what="remove the unfinished files", command=FIX, run=run)


def ballast(folder: DataFolder) -> Repair:
    """Return the repair of a data folder without ballast."""

    def run() -> None:
        is_written = folder.restore_ballast()
        give_to_owner(folder.path)
        if not is_written:
            raise OSError(errno.ENOSPC, "there is no room for it yet")

    return Repair(what="write the ballast file", command=FIX, run=run)


def rebuilt_store(folder: DataFolder, *, tell: Callable[[str], None]) -> Repair:
    """Return the repair of a store whose indexes or counts are damaged; learnd must not run on it."""
    from memory.upkeep.rebuilding import rebuild

    def run() -> None:
        rebuild(folder, progress=lambda what, count: tell(f"reading {what} {count or ''}"))

    return Repair(what="rebuild indexes and counts from the rows", command=FIX, run=run)
