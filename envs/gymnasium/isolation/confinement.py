"""All that confines a worker, in the order in which the kernel demands it."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import sys
from collections.abc import Mapping
from typing import Any

from . import landlock, namespaces
from .kernel import KEPT_CAPABILITIES, call, drop_capabilities, refuse_new_privileges

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4

CONFINED = "_LEARND_CONFINED"
"""Variable that tells the host program what it is kept from (:mod:`envs.gymnasium.host.isolation_hints`)."""

DEVICES = "/dev"
TEMPORARY = "/tmp"  # noqa: S108 -- where programs expect to write; Python's own temporary files go to ``TMPDIR``


def confine(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Confine this process by a plan (:func:`envs.gymnasium.isolation_plan.isolation_plan`).

    What the kernel does not allow is left out.

    Returns:
        What is enforced, by name: ``mounts``, ``network``, ``store``, ``shared_memory``, ``files``,
        ``signals``, ``processes`` and ``capabilities``. A text says by what; False or "" that it is not.
    """
    limit_resources(plan)
    if plan["temporary"]:
        os.environ["TMPDIR"] = plan["temporary"]
    enforced: dict[str, Any] = {"processes": ""}
    if not plan["is_isolated"]:
        return enforced
    kept = [*plan["kept"], *_own_code(plan)]
    entered = namespaces.enter(is_network_private=not plan["network"], is_memory_private=plan["is_memory_private"])
    if entered & namespaces.NEW_USER and os.geteuid() != 0:
        # In a new user namespace the limit counts the worker's own processes and threads only.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NPROC, (plan["tasks"], plan["tasks"]))
            enforced["processes"] = "user namespace"
    enforced |= {"network": "namespace" if entered & namespaces.NEW_NETWORK else ""}
    enforced |= _mount(plan, kept) if entered else {"shared_memory": False, "store": ""}
    with contextlib.suppress(OSError):
        refuse_new_privileges()
    enforced |= _restrict_files(plan, kept, enforced)
    confined = [name for name in ("files", "network") if enforced[name]]
    os.environ[CONFINED] = " ".join(confined)
    enforced["capabilities"] = _give_up_capabilities(is_user_new=bool(entered & namespaces.NEW_USER))
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # a change of credentials may have cleared it
    call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)
    return enforced


def limit_resources(plan: Mapping[str, Any]) -> None:
    """Limit core dumps, the size of a file and the number of open files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for kind, wanted in ((resource.RLIMIT_FSIZE, plan["file_bytes"]), (resource.RLIMIT_NOFILE, plan["open_files"])):
        soft, hard = resource.getrlimit(kind)
        bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if kind == resource.RLIMIT_NOFILE:
            bound = max(bound, soft)
        now = bound if soft == resource.RLIM_INFINITY else min(soft, bound)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (now, bound))


def _own_code(plan: Mapping[str, Any]) -> list[str]:
    """Return the folders from which this process imports modules."""
    paths = [sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(sys.executable), *sys.path]  # noqa: PTH120
    real = {os.path.realpath(path) for path in paths if path}
    return sorted(path for path in real if path not in plan["hidden"])


def _mount(plan: Mapping[str, Any], kept: list[str]) -> dict[str, Any]:
    """Mount what a worker has of its own, and cover the store."""
    done: dict[str, Any] = {"shared_memory": False, "store": ""}
    try:
        namespaces.keep_mounts_inside()
        namespaces.mount_shared_memory(plan["shared_memory_bytes"])
        done["shared_memory"] = True
        for path in plan["hidden"]:
            namespaces.hide(path, kept)
        done["store"] = "mount namespace"
    except OSError:
        return done
    return done


def _restrict_files(plan: Mapping[str, Any], kept: list[str], enforced: Mapping[str, Any]) -> dict[str, Any]:
    """Restrict access to files by Landlock."""
    abi = landlock.version()
    undone = {"files": "", "signals": False}
    if not abi:
        return undone
    hidden = [] if enforced["store"] else list(plan["hidden"])
    excluded = [*hidden, *(_block_devices() if os.geteuid() == 0 else ())]
    places = [place for place in (DEVICES, TEMPORARY, *plan["writable"]) if os.path.isdir(place)]  # noqa: PTH112
    writable = [path for place in places for path in landlock.around(os.path.realpath(place), excluded)]
    readable = [path for place in ("/", *kept) for path in landlock.around(place, excluded)] if excluded else None
    refuses_tcp = not plan["network"] and not enforced["network"]
    try:
        landlock.restrict(abi, writable=[*writable, plan["folder"]], readable=readable, refuses_tcp=refuses_tcp)
    except OSError:
        return undone
    done: dict[str, Any] = {"files": f"Landlock, version {abi}", "signals": abi >= landlock.SIGNAL_ABI}
    if refuses_tcp and abi >= landlock.NETWORK_ABI:
        done["network"] = "Landlock"
    return done | ({} if enforced["store"] else {"store": "Landlock"})


def _block_devices() -> list[str]:
    """Return the disks, which root could read and write around the file system."""
    try:
        return [entry.path for entry in os.scandir(DEVICES) if _is_block_device(entry)]
    except OSError:
        return []


def _is_block_device(entry: os.DirEntry[str]) -> bool:
    try:
        return stat.S_ISBLK(entry.stat(follow_symlinks=False).st_mode)
    except OSError:
        return False


def _give_up_capabilities(*, is_user_new: bool) -> bool:
    try:
        drop_capabilities(kept=frozenset() if is_user_new or os.geteuid() != 0 else KEPT_CAPABILITIES)
    except OSError:
        return False
    return True
