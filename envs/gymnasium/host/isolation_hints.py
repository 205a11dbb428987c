"""Hints for errors of a user's environment that the isolation of its worker may have caused."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from bdb import BdbQuit

CONFINED = "_LEARND_CONFINED"
"""Variable with the names of what this process is kept from: ``files`` and ``network``."""

_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL})
_NOT_WRITABLE = frozenset({errno.EACCES, errno.EROFS, errno.EXDEV})


def isolation_hint(error: BaseException) -> str | None:
    """Return why an error may have been raised in a worker and not elsewhere; None if it is of another kind."""
    if isinstance(error, BdbQuit) or (isinstance(error, EOFError) and "reading a line" in str(error)):
        return "a worker has no terminal, so that input() and breakpoint() cannot be answered"
    confined = os.environ.get(CONFINED, "").split()
    if not isinstance(error, OSError):
        return None
    is_of_network = isinstance(error, (ConnectionError, socket.gaierror)) or error.errno in _UNREACHABLE
    if "network" in confined and is_of_network:
        return "the family was declared without --network, so its worker can open no connection"
    if "files" in confined and error.filename is not None and error.errno in _NOT_WRITABLE:
        places = f"{tempfile.gettempdir()}, /tmp, /dev and the folders of the setting workers.writable"
        return f"a worker writes only below {places}, and does not reach the data folder"
    return None
