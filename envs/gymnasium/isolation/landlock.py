"""Landlock: a process gives up access to files, for itself and all that it starts.

The numbers are those of ``linux/landlock.h``. A kernel tells its version of the interface; each added rights.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence

from .kernel import system_call

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
RULE_PATH_BENEATH = 1

WRITE_FILE, READ_FILE = 1 << 1, 1 << 2
REFER, TRUNCATE = 1 << 13, 1 << 14
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_MAKE_DEVICES = 1 << 6 | 1 << 11
_ON_FILES = WRITE_FILE | READ_FILE | TRUNCATE

CONNECT_TCP = 1 << 1
SCOPE_SIGNAL = 1 << 1

REFER_ABI, TRUNCATE_ABI, NETWORK_ABI, SIGNAL_ABI = 2, 3, 4, 6


def version() -> int:
    """Return the version of the kernel's interface; 0 if it has no Landlock."""
    try:
        return system_call(CREATE_RULESET, None, 0, 1)
    except OSError:
        return 0


def restrict(
    abi: int, *, writable: Sequence[str], readable: Sequence[str] | None = None, refuses_tcp: bool = False
) -> None:
    """Restrict this process. It must have called :func:`.kernel.refuse_new_privileges`.

    Args:
        abi: what :func:`version` returned, at least 1.
        writable: files and folders that may be written and changed, with all below them.
        readable: files and folders that may be read, with all below them; None leaves reading as it is.
        refuses_tcp: refuse connections over TCP, which needs version 4.

    Raises:
        OSError: the kernel refuses it.
    """
    writing = WRITE_FILE | _REMOVE_AND_MAKE
    writing |= REFER if abi >= REFER_ABI else 0
    writing |= TRUNCATE if abi >= TRUNCATE_ABI else 0
    handled = writing | (READ_FILE if readable is not None else 0)
    network = CONNECT_TCP if refuses_tcp and abi >= NETWORK_ABI else 0
    scoped = SCOPE_SIGNAL if abi >= SIGNAL_ABI else 0
    size = 24 if abi >= SIGNAL_ABI else 16 if abi >= NETWORK_ABI else 8
    ruleset = system_call(CREATE_RULESET, struct.pack("=QQQ", handled, network, scoped), size, 0)
    try:
        for path in readable or ():
            _allow(ruleset, path, READ_FILE)
        for path in writable:
            _allow(ruleset, path, (writing & ~_MAKE_DEVICES) | (handled & READ_FILE))
        system_call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    """Add a rule for a file or folder. One that does not exist or cannot be opened is left out."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(f"/proc/self/fd/{fd}"):  # noqa: PTH112 -- of the descriptor, whatever the path is now
            rights &= _ON_FILES
        system_call(ADD_RULE, ruleset, RULE_PATH_BENEATH, struct.pack("=Qi", rights, fd), 0)
    except OSError as error:
        if error.errno not in {errno.EBADFD, errno.EINVAL}:  # a file that rules cannot be made for
            raise
    finally:
        os.close(fd)


def around(folder: str, excluded: Sequence[str]) -> list[str]:
    """Return the paths that together are all of a folder except some, because Landlock can only allow.

    Symbolic links are left out where a folder is taken apart; what they lead to is allowed at its own place. What is
    made in such a folder later is not allowed.

    Args:
        folder: a folder, without symbolic links in its path.
        excluded: absolute paths without symbolic links.
    """
    if folder in excluded:
        return []
    below = folder if folder.endswith("/") else f"{folder}/"
    inner = [path for path in excluded if path.startswith(below)]
    if not inner:
        return [folder]
    try:
        entries = [entry.path for entry in os.scandir(folder) if not entry.is_symlink()]
    except OSError:
        return []
    return [path for entry in entries for path in around(entry, inner)]
