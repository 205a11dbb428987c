"""Calls of the kernel that the standard library lacks."""

from __future__ import annotations

import contextlib
import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)

PR_SET_NO_NEW_PRIVS = 38
PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION = 0x20080522

KEPT_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 23})
"""What a worker of root keeps: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL and SYS_NICE.

The others would let it undo its limits, mount, trace or read raw devices. In a user namespace it keeps none.
"""

_ALL_CAPABILITIES = range(41)


def call(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Call a function of the C library.

    Raises:
        OSError: it returned a negative number.
    """
    values = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    result: int = getattr(_LIBC, name)(*values)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def system_call(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make a system call by its number.

    Raises:
        OSError: it failed.
    """
    return call("syscall", number, *arguments)


def refuse_new_privileges() -> None:
    """Let no program that this process executes gain privileges."""
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def drop_capabilities(*, kept: frozenset[int]) -> None:
    """Give up all capabilities except ``kept``, for good.

    Raises:
        OSError: the kernel refuses it.
    """
    for capability in _ALL_CAPABILITIES:
        if capability not in kept and _is_in_bounding_set(capability):
            with contextlib.suppress(OSError):  # without the privilege; then no_new_privs has the same effect
                call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    present = (ctypes.c_uint32 * 6)()
    if _LIBC.capget(header, present) < 0:
        raise OSError(ctypes.get_errno(), "capget")
    if not any(present):
        return
    low = sum(1 << capability for capability in kept if capability < 32)
    high = sum(1 << (capability - 32) for capability in kept if capability >= 32)
    masks = (low, low, 0, high, high, 0)
    wanted = (ctypes.c_uint32 * 6)(*(value & mask for value, mask in zip(present, masks, strict=True)))
    if _LIBC.capset(header, wanted) < 0:
        raise OSError(ctypes.get_errno(), "capset")


def _is_in_bounding_set(capability: int) -> bool:
    pr_capbset_read = 23
    return int(_LIBC.prctl(pr_capbset_read, ctypes.c_ulong(capability), 0, 0, 0)) == 1
