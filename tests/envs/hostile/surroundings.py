"""What hostile environments reach for: a store, a user's home, and a server on this machine."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

OUTSIDE = "/var/tmp"
SECRET = b"the store"


@contextmanager
def surroundings(folder: Path, monkeypatch: pytest.MonkeyPatch, *, store: Path | None = None) -> Iterator[None]:
    """Make them, name them in variables, and check at the end that no environment reached any of them.

    Args:
        folder: a folder of the test.
        monkeypatch: sets the variables.
        store: the data folder of a running service; None makes a folder with a file.
    """
    with tempfile.TemporaryDirectory(dir=OUTSIDE, prefix="hostile-home-") as home, socket.socket() as server:
        if store is None:
            (folder / "store").mkdir()
            (folder / "store" / "learnd.db").write_bytes(SECRET)
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        monkeypatch.setenv("HOSTILE_STORE", str(store or folder / "store"))
        monkeypatch.setenv("HOSTILE_HOME", home)
        monkeypatch.setenv("HOSTILE_PORT", str(server.getsockname()[1]))
        yield
        assert list(Path(home).iterdir()) == []
        assert store is not None or (folder / "store" / "learnd.db").read_bytes() == SECRET
        with pytest.raises(BlockingIOError):
            server.accept()
