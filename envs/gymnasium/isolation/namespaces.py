"""Namespaces of a worker: mounts, network and System V memory of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterable, Sequence

from .kernel import call

NEW_MOUNTS, NEW_IPC, NEW_USER, NEW_NETWORK = 0x00020000, 0x08000000, 0x10000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE = 1, 2, 4, 32, 4096, 16384, 1 << 19

SHARED_MEMORY = "/dev/shm"  # noqa: S108 -- the place of POSIX shared memory


def enter(*, is_network_private: bool, is_memory_private: bool) -> int:
    """Move this process into new namespaces, as many of the wanted ones as the kernel allows.

    A process without the privilege gets a user namespace first, in which it has its own user and group.

    Args:
        is_network_private: whether it gets a network without connections.
        is_memory_private: whether it gets System V shared memory of its own.

    Returns:
        The flags of the new namespaces; 0 if the kernel allows none.
    """
    wanted = NEW_MOUNTS | (NEW_IPC if is_memory_private else 0)
    networks = (NEW_NETWORK, 0) if is_network_private else (0,)
    user, group = os.geteuid(), os.getegid()
    for flags in [wanted | more | network for more in (0, NEW_USER) for network in networks]:
        try:
            call("unshare", flags)
        except OSError:
            continue
        if flags & NEW_USER:
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{user} {user} 1")
            _write("/proc/self/gid_map", f"{group} {group} 1")
        if flags & NEW_NETWORK:
            with contextlib.suppress(OSError):
                _raise_loopback()
        return flags
    return 0


def _write(path: str, text: str) -> None:
    with contextlib.suppress(OSError), open(path, "w") as file:  # noqa: PTH123
        file.write(text)


def _raise_loopback() -> None:
    """Make 127.0.0.1 usable between the processes of this network namespace."""
    import _socket

    get_flags, set_flags, is_up = 0x8913, 0x8914, 1
    made = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        found = fcntl.ioctl(made.fileno(), get_flags, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", found)[1]
        fcntl.ioctl(made.fileno(), set_flags, struct.pack("16sh14x", b"lo", flags | is_up))
    finally:
        made.close()


def keep_mounts_inside() -> None:
    """Let no mount of this process appear outside of its namespace.

    Raises:
        OSError: the kernel refuses it; then nothing may be mounted.
    """
    call("mount", b"none", b"/", None, MS_REC | MS_SLAVE, None)


def mount_shared_memory(size_bytes: int) -> None:
    """Mount an empty ``/dev/shm`` of a limited size, which ends with the last process of the namespace.

    Raises:
        OSError: the kernel refuses it.
    """
    options = f"mode=1777,size={size_bytes}".encode()
    call("mount", b"tmpfs", os.fsencode(SHARED_MEMORY), b"tmpfs", MS_NOSUID | MS_NODEV, options)


def hide(path: str, kept: Sequence[str]) -> None:
    """Cover a folder by an empty one that cannot be written, or a file by an empty file.

    Args:
        path: what is hidden.
        kept: paths below it that stay where they are.

    Raises:
        OSError: the kernel refuses it.
    """
    if not os.path.isdir(path):  # noqa: PTH112
        _bind(b"/dev/null", path)
        return
    stays = _opened(inner for inner in kept if inner.startswith(f"{path}/"))
    try:
        call("mount", b"tmpfs", os.fsencode(path), b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=755,size=64k")
        _bind_back(stays)
        flags = MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV
        call("mount", b"tmpfs", os.fsencode(path), b"tmpfs", flags, b"mode=755,size=64k")
    finally:
        _close(stays)


def _opened(paths: Iterable[str]) -> dict[str, int]:
    """Open paths that are to stay reachable, outer ones first; those that do not exist are left out."""
    opened: dict[str, int] = {}
    for path in sorted(set(paths)):
        if not any(path.startswith(f"{outer}/") for outer in opened):
            with contextlib.suppress(OSError):
                opened[path] = os.open(path, os.O_PATH | os.O_CLOEXEC)
    return opened


def _bind_back(opened: dict[str, int]) -> None:
    """Bind what was opened to its path, below a folder that was covered since."""
    for path, fd in opened.items():
        source = f"/proc/self/fd/{fd}"
        if os.path.isdir(source):  # noqa: PTH112
            os.makedirs(path, exist_ok=True)  # noqa: PTH103
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o600))
        _bind(source.encode(), path)


def _close(opened: dict[str, int]) -> None:
    for fd in opened.values():
        os.close(fd)


def _bind(source: bytes, target: str) -> None:
    call("mount", source, os.fsencode(target), None, MS_BIND | MS_REC, None)
