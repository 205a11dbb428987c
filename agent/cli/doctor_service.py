"""The checks of ``learnd doctor`` of the running service: its locks, address, jobs and families."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.doctor_findings import CheckContext, Finding, Repair, Verdict
from agent.cli.doctor_repairs import private_file
from agent.cli.running_service import ask_health, authorization
from agent.daemon.health import FAILURES_IN_A_ROW
from agent.output.quantities import short_duration
from envs.errors import FamilySpecError
from envs.user_paths import expanded
from memory.records import FamilyState, JobOutcome, UnreadableSpec

if TYPE_CHECKING:
    from agent.config.settings import ServiceSettings
    from memory.store import Store

OVERDUE_S = 600.0


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
        repair = Repair(what="stop the trainer", command=f"kill {trainer}")
        yield Finding(check="lock", verdict=Verdict.WARN, found=found, hint=hint, repair=repair)
    elif daemon is None:
        yield Finding(check="lock", verdict=Verdict.OK, found="no daemon holds the data folder")
    else:
        yield Finding(check="lock", verdict=Verdict.OK, found=f"the daemon, pid {daemon}, holds the data folder")


def address(context: CheckContext) -> Iterator[Finding]:
    """Check that the daemon answers on its address or, if it is stopped, that the address is free."""
    from agent.daemon.http.hosts import is_loopback

    if context.folder.holder_pid() is not None:
        status = context.store.daemon_status.get() if context.store is not None else None
        service = context.settings.service
        yield from _token(service.token_file, context)
        yield _answering(str((status or {}).get("listen") or service.listen), service.token_file)
        return
    listen = context.settings.service.listen
    yield from _token(context.settings.service.token_file, context)
    if not is_loopback(context.settings.service.host):
        yield _reachable(context.settings.service)
    problem = _bind_problem(context.settings.service.host, context.settings.service.port)
    if problem is None:
        yield Finding(check="address", verdict=Verdict.OK, found=f"{listen} is free")
    else:
        hint = "Choose another address with --listen."
        repair = Repair(what="choose another address", command="learnd config set service.listen 127.0.0.1:PORT")
        yield Finding(check="address", verdict=Verdict.FAIL, found=f"{listen}: {problem}", hint=hint, repair=repair)


def _reachable(service: ServiceSettings) -> Finding:
    """Return the finding of an address that other machines can reach, with what they can read there."""
    if service.token_file is None:
        hint = "/metrics has no access control, and the page is closed without service.token_file: use 127.0.0.1."
    elif not service.protect_metrics:
        hint = "The page asks for the token, /metrics does not: restrict it, or set service.protect_metrics."
    else:
        return Finding(check="address", verdict=Verdict.OK, found=f"{service.listen} asks for the token")
    return Finding(
        check="address", verdict=Verdict.WARN, found=f"{service.listen} is reachable from outside", hint=hint
    )


def _token(path: Path | None, context: CheckContext) -> Iterator[Finding]:
    """Yield a finding if the token file cannot be used, or if others may read it."""
    from agent.daemon.web.access import AccessError, read_token

    if path is None:
        return
    try:
        read_token(path)
    except AccessError as error:
        yield Finding(check="address", verdict=Verdict.FAIL, found=f"{path}: {error.found}", hint=error.hint)
        return
    file = expanded(path)
    if file.stat().st_mode & 0o077:
        place = context.folder.path
        owner = place.stat().st_uid if place.exists() else os.geteuid()
        yield Finding(
            check="address",
            verdict=Verdict.WARN,
            found=f"{path}, which has the token, can be read by other users",
            hint=f"chmod 600 {path}, as a file of the user that the service runs as.",
            repair=private_file(file, owner=owner),
        )


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
            repair=Repair(what="try the family again, once it is fixed", command=f"learnd env resume {family.name}"),
        )
    if not troubled:
        num_active = sum(family.state is FamilyState.ACTIVE for family in known)
        yield Finding(
            check="families", verdict=Verdict.OK, found=f"{num_active} of {len(known)} families are practised"
        )


def family_files(context: CheckContext) -> Iterator[Finding]:
    """Check that every file in the watched folders declares a family."""
    from agent.family_files import declaration_in, family_files, watched_folders

    files = [path for folder in watched_folders(context.settings) for path in family_files(folder)]
    problems: dict[str, str] = {}
    for path in files:
        try:
            declaration_in(path, context.settings)
        except FamilySpecError as error:
            problems[str(path)] = f"{error.found} {error.hint}".strip()
    if context.store is not None and context.folder.holder_pid() is not None:
        reported = (context.store.daemon_status.get() or {}).get("family_files", [])
        problems |= {problem["file"]: problem["found"] for problem in reported if problem["file"] not in problems}
    for file, found in problems.items():
        hint = "When the file is right, the daemon takes it over by itself."
        yield Finding(check="family files", verdict=Verdict.WARN, found=f"{file}: {found}", hint=hint)
    if not problems:
        yield Finding(check="family files", verdict=Verdict.OK, found=f"{len(files)} in the watched folders")


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


def _answering(listen: str, token_file: Path | None) -> Finding:
    import http.client

    headers: dict[str, str] = {}
    if token_file is not None:
        with contextlib.suppress(OSError):  # told by another finding
            headers = authorization(token_file)
    try:
        answer = ask_health(listen, headers=headers)
    except (OSError, http.client.HTTPException) as error:
        found, hint = f"the daemon does not answer on {listen}: {error}", "See its log; it may be starting."
        return Finding(check="address", verdict=Verdict.FAIL, found=found, hint=hint)
    if answer.is_healthy:
        return Finding(check="address", verdict=Verdict.OK, found=f"the daemon answers on {listen} and is healthy")
    found = f"the daemon answers on {listen} and is not healthy: {answer.text[:2000]}"
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


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no reason was given"
