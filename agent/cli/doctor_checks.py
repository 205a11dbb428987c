"""What ``learnd doctor`` looks at: each check says what it found, whether that is well, and what to do if not."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import shlex
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.output import short_duration, short_size
from agent.daemon.health import FAILURES_IN_A_ROW
from memory.errors import MemoryStoreError
from memory.ownership import foreign_paths, paths_in
from memory.records import FamilyState, JobOutcome, ProblemKind

if TYPE_CHECKING:
    from agent.config.settings import Settings
    from memory.folder import DataFolder
    from memory.store import Store

PACKAGES = ("learnd", "torch", "numpy", "gymnasium", "stable-baselines3", "apscheduler", "sqlite-utils", "pysqlite3")
SOUND_SQLITE = (3, 51, 3)
"""The first release without the WAL-reset bug of 3.7.0 to 3.51.2; older lines have it fixed in these:"""
SOUND_SQLITE_LINES: dict[tuple[int, ...], int] = {(3, 44): 6, (3, 50): 7}

NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs"})
LEAST_FREE_BYTES = 256 * 2**20
SCARCE_FREE_BYTES = 2 * 2**30
LARGE_WAL_BYTES = 128 * 2**20
OVERDUE_S = 600.0
ABANDONED_S = 3600.0


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found.

    Attributes:
        check: its name.
        verdict: how it came out.
        found: what was seen.
        hint: what to do; empty when all is well.
    """

    check: str
    verdict: Verdict
    found: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckContext:
    """What the checks look at.

    Attributes:
        settings: in force, or the defaults where they cannot be used.
        folder: the data folder.
        store: open to read; None where there is none or it cannot be opened.
        tell: told what a long check is doing.
    """

    settings: Settings
    folder: DataFolder
    store: Store | None
    tell: Callable[[str], None]


Check = Callable[[CheckContext], Iterator[Finding]]


def python_version(_: CheckContext) -> Iterator[Finding]:
    """Python is one that learnd supports, and every package it needs is there."""
    found = f"Python {platform.python_version()} at {sys.executable}"
    if tuple(int(part) for part in platform.python_version_tuple()[:2]) < (3, 11):
        yield Finding(check="python", verdict=Verdict.FAIL, found=found, hint="learnd needs Python 3.11 or newer.")
    else:
        yield Finding(check="python", verdict=Verdict.OK, found=found)
    versions, missing = [], []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        found, hint = f"missing: {', '.join(missing)}", "Install them: make setup, or pip install learnd."
        yield Finding(check="packages", verdict=Verdict.FAIL, found=found, hint=hint)
    else:
        yield Finding(check="packages", verdict=Verdict.OK, found=", ".join(versions))


def sqlite_library(_: CheckContext) -> Iterator[Finding]:
    """One SQLite library, without the bug that can corrupt a database in WAL mode."""
    from memory.sqlite_library import require_one_library, sqlite3

    numbers = tuple(int(part) for part in sqlite3.sqlite_version.split("."))
    found = f"SQLite {sqlite3.sqlite_version} from {sqlite3.__name__.split('.')[0]}"
    try:
        require_one_library()
    except MemoryStoreError as error:
        yield Finding(check="sqlite", verdict=Verdict.FAIL, found=error.found, hint=error.hint)
        return
    is_sound = numbers >= SOUND_SQLITE or numbers[2] >= SOUND_SQLITE_LINES.get(numbers[:2], 1000)
    if is_sound:
        yield Finding(check="sqlite", verdict=Verdict.OK, found=found)
    else:
        hint = "It can corrupt a WAL database (fixed in 3.51.3): upgrade pysqlite3 to 0.6.1 or newer."
        yield Finding(check="sqlite", verdict=Verdict.FAIL, found=found, hint=hint)


def data_folder(context: CheckContext) -> Iterator[Finding]:
    """The data folder is there, this user may write to it, and nobody else may."""
    path = context.folder.path
    if not path.exists():
        hint = "It is made by learnd run."
        yield Finding(check="data folder", verdict=Verdict.WARN, found=f"{path} does not exist yet", hint=hint)
        return
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        hint = "Run as the user the service runs as, or change who owns it."
        yield Finding(check="data folder", verdict=Verdict.FAIL, found=f"{path} cannot be written", hint=hint)
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o022:
        found, hint = f"other users may write to {path} (mode {mode:04o})", f"chmod 700 {path}"
        yield Finding(check="data folder", verdict=Verdict.FAIL, found=found, hint=hint)
    elif mode & 0o055:
        found, hint = f"{path} is open to other users (mode {mode:04o})", f"chmod 700 {path}"
        yield Finding(check="data folder", verdict=Verdict.WARN, found=found, hint=hint)
    else:
        yield Finding(check="data folder", verdict=Verdict.OK, found=f"{path} (mode {mode:04o})")


def store_identity(context: CheckContext) -> Iterator[Finding]:
    """The database belongs to the data folder: both have the same UUID."""
    from memory.identity import FILE_NAME, foreign_store_error, identity_of_folder

    recorded = None if context.store is None else context.store.identity()
    if recorded is None:
        return
    found = identity_of_folder(context.folder.path)
    if found == recorded:
        yield Finding(check="store identity", verdict=Verdict.OK, found=f"UUID {recorded}")
    elif found is None:
        hint = "The next start writes it."
        yield Finding(check="store identity", verdict=Verdict.WARN, found=f"{FILE_NAME} is missing", hint=hint)
    else:
        error = foreign_store_error(context.folder, recorded=recorded, found=found, operation="checking the store")
        yield Finding(check="store identity", verdict=Verdict.FAIL, found=error.found, hint=error.hint)


def file_system(context: CheckContext) -> Iterator[Finding]:
    """A local file system with room."""
    path = _nearest_existing(context.folder.path)
    kind = _file_system_kind(path)
    if kind in NETWORK_FILE_SYSTEMS:
        found, hint = f"{path} is on {kind}", "SQLite's WAL needs a local file system: use another --data-dir."
        yield Finding(check="file system", verdict=Verdict.FAIL, found=found, hint=hint)
    free = shutil.disk_usage(path).free
    found = f"{short_size(free)} free" + (f" on {kind}" if kind else "")
    hint = "Free some room, or lower memory.max_size."
    if free < LEAST_FREE_BYTES:
        yield Finding(check="free space", verdict=Verdict.FAIL, found=found, hint=hint)
    elif free < SCARCE_FREE_BYTES:
        yield Finding(check="free space", verdict=Verdict.WARN, found=found, hint=hint)
    else:
        yield Finding(check="free space", verdict=Verdict.OK, found=found)


def store_integrity(context: CheckContext) -> Iterator[Finding]:
    """Every row, episode and parameter file is what was written."""
    if context.store is None:
        return
    problems = context.store.check(progress=lambda what, count: context.tell(f"reading {what} {count or ''}"))
    if not problems:
        yield Finding(check="store", verdict=Verdict.OK, found="every row, episode and parameter file is whole")
    for problem in problems:
        yield Finding(
            check="store", verdict=Verdict.FAIL, found=f"{problem.subject}: {problem.found}", hint=problem.hint
        )


def store_size(context: CheckContext) -> Iterator[Finding]:
    """The store keeps to its size, and its log is being reset."""
    if context.store is None:
        return
    stats = context.store.stats.memory_stats()
    found = f"{short_size(stats.size_bytes)}: {stats.trials} trials, {stats.episodes} episodes remembered"
    limit = context.settings.memory.max_size
    if stats.size_bytes > 1.5 * limit:
        hint = f"More than memory.max_size, {short_size(limit)}: run learnd schedule run-now prune."
        yield Finding(check="size", verdict=Verdict.WARN, found=found, hint=hint)
    else:
        yield Finding(check="size", verdict=Verdict.OK, found=found)
    if stats.wal_bytes > LARGE_WAL_BYTES:
        found = f"the write-ahead log has grown to {short_size(stats.wal_bytes)}"
        hint = "Some process keeps a read of learnd.db open: end it."
        yield Finding(check="write-ahead log", verdict=Verdict.WARN, found=found, hint=hint)


def ownership(context: CheckContext) -> Iterator[Finding]:
    """Every file belongs to the owner of the data folder, who can write it."""
    folder = context.folder.path
    if not folder.is_dir():
        return
    owner = folder.stat()
    if foreign := foreign_paths(folder):
        found = f"{len(foreign)} files do not belong to the folder's owner (uid {owner.st_uid}), such as {foreign[0]}"
        hint = f"The service cannot write them: chown -R {owner.st_uid}:{owner.st_gid} {shlex.quote(str(folder))}"
        yield Finding(check="ownership", verdict=Verdict.FAIL, found=found, hint=hint)
    elif unwritable := _unwritable(folder):
        found = f"{len(unwritable)} files cannot be written by their owner, such as {unwritable[0]}"
        hint = f"chmod -R u+rwX {shlex.quote(str(folder))}"
        yield Finding(check="ownership", verdict=Verdict.FAIL, found=found, hint=hint)
    else:
        yield Finding(check="ownership", verdict=Verdict.OK, found=f"every file belongs to uid {owner.st_uid}")


def _unwritable(folder: Path) -> list[Path]:
    """Return the files that the service writes again, and the folders, whose owner may not."""
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
    """Backups are of this store, clean, and not from the future."""
    from memory.files.backup_record import listed_backups

    listed = listed_backups(context.folder)
    now = time.time()
    if future := [backup.path.name for backup in listed if backup.is_from_future(now)]:
        found = f"{len(future)} backups are from the future, such as {future[0]}"
        hint = "They were made under a clock that was ahead, or the clock is behind now: see `date`."
        yield Finding(check="backups", verdict=Verdict.WARN, found=found, hint=hint)
    if listed and not any(backup.is_clean for backup in listed):
        found, hint = "no backup is clean", "Stop learnd and run `learnd doctor --repair`, then back up."
        yield Finding(check="backups", verdict=Verdict.WARN, found=found, hint=hint)
    elif listed and not listed[0].is_clean:
        found = f"the newest backup is not clean: {listed[0].path.name}"
        hint = "The store was damaged when it was made: stop learnd and run `learnd doctor --repair`."
        yield Finding(check="backups", verdict=Verdict.WARN, found=found, hint=hint)
    if not future and (not listed or listed[0].is_clean):
        yield Finding(check="backups", verdict=Verdict.OK, found=f"{len(listed)} backups")


def known_damage(context: CheckContext) -> Iterator[Finding]:
    """Nothing is known to be damaged, and the learner did not fall back to an older checkpoint."""
    if context.store is None:
        return
    for problem in context.store.damage.all():
        is_lost = problem.kind is ProblemKind.CHECKPOINT_LOST
        verdict = Verdict.FAIL if is_lost else Verdict.WARN
        found = f"{problem.subject}: {problem.found}"
        yield Finding(check="known damage", verdict=verdict, found=found, hint=problem.hint)


def locks(context: CheckContext) -> Iterator[Finding]:
    """Who holds the data folder."""
    folder = context.folder
    control, learner = folder.holder_pid(), folder.holder_pid("learner")
    held = [name for name, pid in (("control", control), ("learner", learner)) if pid is not None]
    if removed := [name for name in held if not folder.lock_path(name).exists()]:
        found = f"{', '.join(f'{name}.lock' for name in removed)} of a running process was removed"
        hint = "The daemon stops by itself; then start it again."
        yield Finding(check="lock", verdict=Verdict.FAIL, found=found, hint=hint)
    elif control is None and learner is not None:
        found = f"a learner (pid {learner}) works without a daemon"
        hint = f"It should have ended with its daemon; end it: kill {learner}"
        yield Finding(check="lock", verdict=Verdict.WARN, found=found, hint=hint)
    elif control is None:
        yield Finding(check="lock", verdict=Verdict.OK, found="no daemon holds the data folder")
    else:
        yield Finding(check="lock", verdict=Verdict.OK, found=f"the daemon, pid {control}, holds the data folder")


def leftovers(context: CheckContext) -> Iterator[Finding]:
    """Nothing half-made lies about."""
    folder = context.folder
    if not folder.path.is_dir():
        return
    abandoned = [
        path
        for pattern in ("*.tmp", ".*.tmp", "*/*.tmp", "*/.*.tmp", "*.partial", "*/*.partial")
        for path in folder.path.glob(pattern)
        if _age_s(path) > ABANDONED_S
    ]
    if abandoned:
        found = f"{len(abandoned)} unfinished files of a killed writer, such as {abandoned[0].name}"
        hint = "The prune job removes them: learnd schedule run-now prune."
        yield Finding(check="leftovers", verdict=Verdict.WARN, found=found, hint=hint)
    elif folder.store_path.exists() and not folder.ballast_path.exists():
        found, hint = "the ballast file is missing", "It was freed when the disk was full; a start makes it anew."
        yield Finding(check="leftovers", verdict=Verdict.WARN, found=found, hint=hint)
    else:
        yield Finding(check="leftovers", verdict=Verdict.OK, found="no unfinished file")


def address(context: CheckContext) -> Iterator[Finding]:
    """The daemon answers on its address, or the address is free."""
    if context.folder.holder_pid() is not None:
        status = context.store.daemon_status.get() if context.store is not None else None
        yield _answering(str((status or {}).get("listen") or context.settings.service.listen))
        return
    listen = context.settings.service.listen
    if not _is_loopback(context.settings.service.host):
        found, hint = f"{listen} is reachable from outside", "There is no access control on it: use 127.0.0.1."
        yield Finding(check="address", verdict=Verdict.WARN, found=found, hint=hint)
    problem = _bind_problem(context.settings.service.host, context.settings.service.port)
    if problem is None:
        yield Finding(check="address", verdict=Verdict.OK, found=f"{listen} is free")
    else:
        hint = "Another program has it: choose another with --listen."
        yield Finding(check="address", verdict=Verdict.FAIL, found=f"{listen}: {problem}", hint=hint)


def device(context: CheckContext) -> Iterator[Finding]:
    """The device that the settings ask for is there."""
    context.tell("loading torch")
    try:
        import torch
    except (ImportError, OSError) as error:
        found, hint = f"torch does not load: {error}", "Install it anew: make setup."
        yield Finding(check="device", verdict=Verdict.FAIL, found=found, hint=hint)
        return
    from agent.devices import DeviceError, choose_device, describe_device

    choice = context.settings.learner.device
    try:
        chosen = choose_device(choice)
    except DeviceError as error:
        found = f"learner.device is {choice}: {error.found}"
        yield Finding(check="device", verdict=Verdict.FAIL, found=found, hint=error.hint)
        return
    more = f"{os.cpu_count()} cores" if chosen.type == "cpu" else str(chosen)
    found = f"{describe_device(chosen)}, {more}, torch {torch.__version__}; setting: {choice}"
    yield Finding(check="device", verdict=Verdict.OK, found=found)


def schedule(context: CheckContext) -> Iterator[Finding]:
    """Jobs run when they are due, and succeed."""
    store = context.store
    if store is None:
        return
    is_running = context.folder.holder_pid() is not None
    complaints = list(_schedule_complaints(store, is_running=is_running))
    yield from complaints
    if not complaints:
        yield Finding(
            check="schedule", verdict=Verdict.OK, found=f"{len(store.jobs.schedule())} kinds of job, none in arrears"
        )


def families(context: CheckContext) -> Iterator[Finding]:
    """Families can be practised."""
    if context.store is None:
        return
    known = context.store.families.all()
    troubled = [family for family in known if family.state in {FamilyState.REFUSED, FamilyState.QUARANTINED}]
    for family in troubled:
        yield Finding(
            check="families",
            verdict=Verdict.WARN,
            found=f"{family.name} is {family.state}: {family.state_reason or 'no reason was given'}",
            hint=f"See learnd env show {family.name}; when it is mended: learnd env resume {family.name}.",
        )
    if not troubled:
        num_active = sum(family.state is FamilyState.ACTIVE for family in known)
        yield Finding(
            check="families", verdict=Verdict.OK, found=f"{num_active} of {len(known)} families are practised"
        )


CHECKS: tuple[tuple[str, Check], ...] = (
    ("Python", python_version),
    ("SQLite", sqlite_library),
    ("data folder", data_folder),
    ("store identity", store_identity),
    ("ownership", ownership),
    ("file system", file_system),
    ("locks", locks),
    ("leftovers", leftovers),
    ("address", address),
    ("device", device),
    ("schedule", schedule),
    ("families", families),
    ("size", store_size),
    ("backups", backups),
    ("known damage", known_damage),
    ("store", store_integrity),
)


def _schedule_complaints(store: Store, *, is_running: bool) -> Iterator[Finding]:
    now = time.time()
    for job in store.jobs.schedule():
        if is_running and job.next_due_at < now - OVERDUE_S:
            found = f"{job.kind} was due {short_duration(now - job.next_due_at)} ago"
            hint = "Is the learner busy or stuck? See learnd status and the log."
            yield Finding(check="schedule", verdict=Verdict.WARN, found=found, hint=hint)
        last = [run for run in store.jobs.runs(kind=job.kind, limit=FAILURES_IN_A_ROW) if run.outcome is not None]
        if len(last) == FAILURES_IN_A_ROW and all(run.outcome is JobOutcome.FAILED for run in last):
            found = f"{job.kind} failed {FAILURES_IN_A_ROW} times in a row: {_last_line(last[0].error)}"
            hint = "See learnd schedule list --runs 50 and the log."
            yield Finding(check="schedule", verdict=Verdict.FAIL, found=found, hint=hint)
    num_open = sum(run.outcome is None for run in store.jobs.runs(limit=200))
    if num_open and not is_running:
        found = f"{num_open} runs were left open by a daemon that died"
        yield Finding(check="schedule", verdict=Verdict.WARN, found=found, hint="The next start ends them.")


def _answering(listen: str) -> Finding:
    import http.client

    host, _, port = listen.rpartition(":")
    target = _reachable_host(host.strip("[]"))
    connection = http.client.HTTPConnection(target, int(port), timeout=5)
    try:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        text = response.read(2000).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        found, hint = f"the daemon does not answer on {listen}: {error}", "See its log; it may be starting."
        return Finding(check="address", verdict=Verdict.FAIL, found=found, hint=hint)
    finally:
        connection.close()
    if response.status == http.client.OK:
        return Finding(check="address", verdict=Verdict.OK, found=f"the daemon answers on {listen} and is healthy")
    found = f"the daemon answers on {listen} and is not healthy: {text}"
    return Finding(check="address", verdict=Verdict.FAIL, found=found, hint="See learnd status and the log.")


def _bind_problem(host: str, port: int) -> str | None:
    """Why an address cannot be listened on; None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
            tried.listen(1)
        except OSError as error:
            return "it is in use" if error.errno == errno.EADDRINUSE else str(error.strerror or error)
    return None


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")


def _reachable_host(host: str) -> str:
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- read, not bound


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _file_system_kind(path: Path) -> str:
    import psutil

    mounts: list[Any] = [m for m in psutil.disk_partitions(all=True) if path.is_relative_to(m.mountpoint)]
    return str(max(mounts, key=lambda mount: len(mount.mountpoint)).fstype) if mounts else ""


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no reason was given"
