"""The limit of open file descriptors, and the share of it that connections may use."""

from __future__ import annotations

import resource

WANTED_DESCRIPTORS = 8192
"""The highest limit that is set. Some programs close every possible descriptor, which is slow under a high limit."""

SHARE_OF_CONNECTIONS = 4
"""One descriptor in this many is for connections. The store, the trainer's pipes and backups need the others."""


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard limit or ``WANTED_DESCRIPTORS``; return the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def connections_within(limit: int, *, most: int) -> int:
    """Return the number of connections allowed under a limit of open files: at least 1, at most ``most``."""
    if limit == resource.RLIM_INFINITY:
        return most
    return max(1, min(most, limit // SHARE_OF_CONNECTIONS))
