"""The check of ``learnd doctor`` that tells what keeps workers apart from this machine, and what does not."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from typing import Any

from agent.cli.doctor_findings import CheckContext, Finding, Repair, Verdict

CHECK = "isolation"

HINT = (
    "The kernel allows it to root, or where user namespaces are allowed (sysctl user.max_user_namespaces, "
    "kernel.apparmor_restrict_unprivileged_userns); Landlock needs Linux 5.13. In a container, they must be allowed "
    "from outside. See Isolation in docs/operating.md."
)


def isolation(context: CheckContext) -> Iterator[Finding]:
    """Check what the isolation of workers enforces, with a process that is confined as a worker is."""
    from envs.gymnasium.isolation_report import isolation_report

    if context.settings.workers.isolation == "off":
        found = 'off (workers.isolation = "off"): environments may read and write what this user may'
        hint = 'Set workers.isolation to "auto".'
        repair = Repair(what="isolate workers", command="learnd config set workers.isolation auto")
        yield Finding(check=CHECK, verdict=Verdict.WARN, found=found, hint=hint, repair=repair)
        return
    try:
        enforced = isolation_report(context.settings.worker_limits())
    except OSError as error:
        found = f"a confined process could not be started: {error}"
        hint = 'Workers cannot start either. Set workers.isolation to "off", and report this.'
        yield Finding(check=CHECK, verdict=Verdict.FAIL, found=found, hint=hint)
        return
    details, missing = described(enforced)
    details["tried as"], others = _name_of(os.geteuid()), of_others(context)
    if missing:
        found = f"not enforced for {details['tried as']} on this machine: {', '.join(missing)}{others}"
        yield Finding(check=CHECK, verdict=Verdict.WARN, found=found, hint=HINT, details=details)
    else:
        found = f"all of it is enforced for {details['tried as']}{others}"
        yield Finding(check=CHECK, verdict=Verdict.OK, found=found, details=details)


def of_others(context: CheckContext) -> str:
    """Return what to know where workers do not run as this process would; empty if they do."""
    try:
        owner = context.folder.path.stat().st_uid
    except OSError:
        return ""
    if context.service is not None:
        return f"; workers of the service run as {_name_of(owner)} within its unit, which may allow less"
    return "" if owner == os.geteuid() else f"; workers run as {_name_of(owner)}, for whom it may differ"


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a dynamic user of a service that does not run
        return f"uid {uid}"


def described(enforced: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return what is enforced, part by part in words, and the names of the parts that are not.

    Args:
        enforced: the answer of :func:`envs.gymnasium.isolation_report.isolation_report`.
    """
    network, files = enforced["network"], enforced["files"]
    parts = {
        "data folder": (enforced["store"], "neither read nor written", "can be read and written"),
        "other files": (files, "read, but not written", "can be written"),
        "network": (
            network,
            "no connection over TCP; others are not refused" if network == "Landlock" else "no connection",
            "connections can be opened without --network",
        ),
        "other processes": (
            "Landlock" if enforced["signals"] else "",
            "cannot be signalled",
            "can be signalled, if they have the same user",
        ),
        "shared memory": (
            "mount namespace" if enforced["shared_memory"] else "",
            "its own /dev/shm",
            "that of this machine; what is left is removed where it was seen in use",
        ),
        "processes and threads": (
            enforced["processes"],
            "their number is limited",
            "the number of processes is limited by measuring it twice a second",
        ),
        "privileges": ("kernel" if enforced["capabilities"] else "", "given up", "those of this user"),
    }
    details = {
        name: f"{yes} (by {means})" if means else f"NOT ENFORCED: {no}" for name, (means, yes, no) in parts.items()
    }
    details["memory, file sizes, open files"] = "limited"
    return details, [name for name, (means, _, _) in parts.items() if not means]
