"""The check of ``learnd doctor`` that the user of the system service can read its settings file."""

from __future__ import annotations

import pwd
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path

from agent.cli.doctor_findings import Finding, Repair, Verdict
from agent.config.system_service import SystemService


def unreadable_settings(service: SystemService) -> Finding | None:
    """Return a finding if the user of the service cannot read its settings file."""
    file = service.settings_file
    if file is None:
        return None
    uid = _uid_of(service)
    closed = closed_path(file, uid=uid, gids=_groups_of(uid))
    if closed is None:
        return None
    user = service.user or (f"user {uid}" if uid is not None else "a dynamic user")
    fix = "chmod o+rx" if closed.is_dir() else "chmod o+r"
    return Finding(
        check="settings",
        verdict=Verdict.FAIL,
        found=f"the service, which runs as {user}, cannot read {file}: {closed} has mode"
        f" {stat.S_IMODE(closed.stat().st_mode):04o}",
        hint=f"{fix} {closed}",
        repair=Repair(what="let the service read its settings", command=f"{fix} {shlex.quote(str(closed))}"),
    )


def closed_path(file: Path, *, uid: int | None, gids: Iterable[int] = ()) -> Path | None:
    """Return the file, or the folder on its path, that a user may not read; None if the user can read the file.

    Args:
        file: an absolute path.
        uid: the user; None for any user who owns none of the folders.
        gids: the groups of the user.
    """
    if uid == 0:
        return None
    groups = set(gids)
    resolved = file.resolve()
    for path in [*reversed(resolved.parents), resolved]:
        found = path.stat()
        shift = 6 if found.st_uid == uid else 3 if found.st_gid in groups else 0
        needed = stat.S_IROTH if path == resolved else stat.S_IXOTH
        if not found.st_mode >> shift & needed:
            return path
    return None


def _uid_of(service: SystemService) -> int | None:
    """Return the user of the running daemon or of the unit; None for a dynamic user of a stopped one."""
    try:
        if service.pid is not None:
            return Path(f"/proc/{service.pid}").stat().st_uid
        return pwd.getpwnam(service.user).pw_uid if service.user else None
    except (OSError, KeyError):
        return None


def _groups_of(uid: int | None) -> list[int]:
    try:
        return [] if uid is None else [pwd.getpwuid(uid).pw_gid]
    except KeyError:
        return []
