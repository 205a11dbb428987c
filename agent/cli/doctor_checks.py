"""The checks of ``learnd doctor``. Each check yields findings with a verdict and, for a problem, a hint to fix it."""

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
from memory.records import FamilyState, JobOutcome, ProblemKind, UnreadableSpec

if TYPE_CHECKING:
    from agent.config.settings import Settings
    from memory.folder import DataFolder
    from memory.store import Store

PACKAGES = ("learnd", "torch", "numpy", "gymnasium", "stable-baselines3", "apscheduler", "sqlite-utils", "pysqlite3")
SOUND_SQLITE = (3, 51, 3)
"""First release without the WAL-reset bug of 3.7.0 to 3.51.2. It was also fixed in releases of two older lines."""
SOUND_SQLITE_LINES: dict[tuple[int, ...], int] = {(3, 44): 6, (3, 50): 7}
"""First fixed patch release of each older release line."""

NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs"})
LEAST_FREE_BYTES = 256 * 2**20
SCARCE_FREE_BYTES = 2 * 2**30
LARGE_WAL_BYTES = 128 * 2**20
OVERDUE_S = 600.0
ABANDONED_S = 3600.0


class Verdict(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A result of a check, with the observation behind it.

    Attributes:
        check: name of the check.
        verdict: result of the check.
        found: the observed state.
        hint: what to do; empty if there is no problem.
    """

    check: str
    verdict: Verdict
    found: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckContext:
    """The objects that the checks examine.

    Attributes:
        settings: the settings in force; the defaults if those are not valid.
        folder: the data folder.
        store: the store, open for reading; None if it is missing or cannot be opened.
        tell: called with the current step of a long check.
    """

    settings: Settings
    folder: DataFolder
    store: Store | None
    tell: Callable[[str], None]


Check = Callable[[CheckContext], Iterator[Finding]]


def python_version(_: CheckContext) -> Iterator[Finding]:
    """Check that learnd supports this Python version, and that every required package is installed."""
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
    """Check that one SQLite library is loaded, and that it lacks the bug that can corrupt a database in WAL mode."""
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
        hint = "This release can corrupt a WAL database (fixed in 3.51.3): upgrade pysqlite3 to 0.6.1 or newer."
        yield Finding(check="sqlite", verdict=Verdict.FAIL, found=found, hint=hint)


def data_folder(context: CheckContext) -> Iterator[Finding]:
    """Check that the data folder exists, and that this user, and no other user, may write to it."""
    path = context.folder.path
    if not path.exists():
        hint = "learnd run creates it."
        yield Finding(check="data folder", verdict=Verdict.WARN, found=f"{path} does not exist yet", hint=hint)
        return
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        hint = "Run this command as the user that the daemon runs as, or change the owner of the folder."
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
        yield Finding(check="store identity", verdict=Verdict.FAIL, found=error.found, hint=error.hint)


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
        yield Finding(check="free space", verdict=Verdict.FAIL, found=found, hint=hint)
    elif free < SCARCE_FREE_BYTES:
        yield Finding(check="free space", verdict=Verdict.WARN, found=found, hint=hint)
    else:
        yield Finding(check="free space", verdict=Verdict.OK, found=found)


def store_integrity(context: CheckContext) -> Iterator[Finding]:
    """Check that every row, episode and parameter file is intact."""
    if context.store is None:
        return
    problems = context.store.check(progress=lambda what, count: context.tell(f"reading {what} {count or ''}"))
    if not problems:
        yield Finding(check="store", verdict=Verdict.OK, found="every row, episode and parameter file is intact")
    for problem in problems:
        yield Finding(
            check="store", verdict=Verdict.FAIL, found=f"{problem.subject}: {problem.found}", hint=problem.hint
        )


def store_size(context: CheckContext) -> Iterator[Finding]:
    """Check that the store stays near its size limit, and that SQLite resets the write-ahead log."""
    if context.store is None:
        return
    stats = context.store.stats.memory_stats()
    found = f"{short_size(stats.size_bytes)}: {stats.trials} trials, {stats.episodes} episodes stored"
    limit = context.settings.memory.max_size
    if stats.size_bytes > 1.5 * limit:
        hint = f"memory.max_size is {short_size(limit)}. To prune now, run: learnd schedule run-now prune"
        yield Finding(check="size", verdict=Verdict.WARN, found=found, hint=hint)
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
        hint = f"The daemon cannot write them: chown -R {owner.st_uid}:{owner.st_gid} {shlex.quote(str(folder))}"
        yield Finding(check="ownership", verdict=Verdict.FAIL, found=found, hint=hint)
    elif unwritable := _unwritable(folder):
        found = f"{len(unwritable)} files cannot be written by their owner, such as {unwritable[0]}"
        hint = f"chmod -R u+rwX {shlex.quote(str(folder))}"
        yield Finding(check="ownership", verdict=Verdict.FAIL, found=found, hint=hint)
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
        found, hint = "no backup is clean", "Stop learnd, run `learnd doctor --repair`, then make a backup."
        yield Finding(check="backups", verdict=Verdict.WARN, found=found, hint=hint)
    elif listed and not listed[0].is_clean:
        found = f"the newest backup is not clean: {listed[0].path.name}"
        hint = "The store was damaged when the backup was made: stop learnd and run `learnd doctor --repair`."
        yield Finding(check="backups", verdict=Verdict.WARN, found=found, hint=hint)
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
        yield Finding(check="known damage", verdict=verdict, found=found, hint=problem.hint)


def locks(context: CheckContext) -> Iterator[Finding]:
    """Check which processes hold the locks of the data folder."""
    folder = context.folder
    daemon, trainer = folder.holder_pid(), folder.holder_pid("learner")
    held = [name for name, pid in (("control", daemon), ("learner", trainer)) if pid is not None]
    if removed := [name for name in held if not folder.lock_path(name).exists()]:
        found = f"{', '.join(f'{name}.lock' for name in removed)} of a running process was removed"
        hint = "The daemon stops on its own; then start it again."
        yield Finding(check="lock", verdict=Verdict.FAIL, found=found, hint=hint)
    elif daemon is None and trainer is not None:
        found = f"a trainer (pid {trainer}) runs without a daemon"
        hint = f"It should have exited with its daemon; stop it: kill {trainer}"
        yield Finding(check="lock", verdict=Verdict.WARN, found=found, hint=hint)
    elif daemon is None:
        yield Finding(check="lock", verdict=Verdict.OK, found="no daemon holds the data folder")
    else:
        yield Finding(check="lock", verdict=Verdict.OK, found=f"the daemon, pid {daemon}, holds the data folder")


def leftovers(context: CheckContext) -> Iterator[Finding]:
    """Check that no unfinished files are left over, and that the ballast file exists."""
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
        found, hint = (
            "the ballast file is missing",
            "It was deleted when the disk was full. The daemon creates it again at its next start.",
        )
        yield Finding(check="leftovers", verdict=Verdict.WARN, found=found, hint=hint)
    else:
        yield Finding(check="leftovers", verdict=Verdict.OK, found="no unfinished file")


def address(context: CheckContext) -> Iterator[Finding]:
    """Check that the daemon answers on its address or, if it is stopped, that the address is free."""
    if context.folder.holder_pid() is not None:
        status = context.store.daemon_status.get() if context.store is not None else None
        yield _answering(str((status or {}).get("listen") or context.settings.service.listen))
        return
    listen = context.settings.service.listen
    if not _is_loopback(context.settings.service.host):
        found, hint = f"{listen} is reachable from outside", "The address has no access control: use 127.0.0.1."
        yield Finding(check="address", verdict=Verdict.WARN, found=found, hint=hint)
    problem = _bind_problem(context.settings.service.host, context.settings.service.port)
    if problem is None:
        yield Finding(check="address", verdict=Verdict.OK, found=f"{listen} is free")
    else:
        hint = "Choose another address with --listen."
        yield Finding(check="address", verdict=Verdict.FAIL, found=f"{listen}: {problem}", hint=hint)


def device(context: CheckContext) -> Iterator[Finding]:
    """Check that the device named in the settings is available."""
    context.tell("loading torch")
    try:
        import torch
    except (ImportError, OSError) as error:
        found, hint = f"torch does not load: {error}", "Reinstall it: make setup."
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
    """Check that jobs run when they are due, and that they succeed."""
    store = context.store
    if store is None:
        return
    is_running = context.folder.holder_pid() is not None
    problems = list(_schedule_problems(store, is_running=is_running))
    yield from problems
    if not problems:
        yield Finding(
            check="schedule", verdict=Verdict.OK, found=f"{len(store.jobs.schedule())} kinds of job, none overdue"
        )


def families(context: CheckContext) -> Iterator[Finding]:
    """Check that no family is refused or quarantined."""
    if context.store is None:
        return
    known = context.store.families.all()
    troubled = [family for family in known if family.state in {FamilyState.REFUSED, FamilyState.QUARANTINED}]
    for family in troubled:
        usual = f"See learnd env show {family.name}; when it is fixed: learnd env resume {family.name}."
        yield Finding(
            check="families",
            verdict=Verdict.WARN,
            found=f"{family.name} is {family.state}: {family.state_reason or 'no reason was given'}",
            hint=family.spec.hint if isinstance(family.spec, UnreadableSpec) else usual,
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


def _schedule_problems(store: Store, *, is_running: bool) -> Iterator[Finding]:
    now = time.time()
    for job in store.jobs.schedule():
        if is_running and job.next_due_at < now - OVERDUE_S:
            found = f"{job.kind} was due {short_duration(now - job.next_due_at)} ago"
            hint = "Is the trainer busy or stuck? See learnd status and the log."
            yield Finding(check="schedule", verdict=Verdict.WARN, found=found, hint=hint)
        last = [run for run in store.jobs.runs(kind=job.kind, limit=FAILURES_IN_A_ROW) if run.outcome is not None]
        if len(last) == FAILURES_IN_A_ROW and all(run.outcome is JobOutcome.FAILED for run in last):
            found = f"{job.kind} failed {FAILURES_IN_A_ROW} times in a row: {_last_line(last[0].error)}"
            hint = "See learnd schedule list --runs 50 and the log."
            yield Finding(check="schedule", verdict=Verdict.FAIL, found=found, hint=hint)
    num_open = sum(run.outcome is None for run in store.jobs.runs(limit=200))
    if num_open and not is_running:
        found = f"{num_open} runs were not finished, because the daemon was killed"
        hint = "The daemon closes them at its next start."
        yield Finding(check="schedule", verdict=Verdict.WARN, found=found, hint=hint)


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
    """Return the reason why an address cannot be listened on; None if it can be."""
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
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- compared, not bound


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
