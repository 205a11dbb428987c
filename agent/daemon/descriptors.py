"""How many file descriptors this process may hold, and how many of them connections may take."""

from __future__ import annotations

import resource

WANTED_DESCRIPTORS = 8192
"""More are not asked for: programs that close every possible descriptor take their time over each."""

SHARE_OF_CONNECTIONS = 4
"""One in so many descriptors is for connections; the store, the trainer's pipes and backups need the others."""


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one, or to what is wanted; return the limit that holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def connections_within(limit: int, *, most: int) -> int:
    """Return how many connections may be open under a limit of open files: at least 1, at most ``most``."""
    if limit == resource.RLIM_INFINITY:
        return most
    return max(1, min(most, limit // SHARE_OF_CONNECTIONS))
