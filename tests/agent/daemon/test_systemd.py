"""Notifications to systemd: text from environments in them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agent.daemon.systemd import Notifier
from tests.agent.cli.hostile import HOSTILE


def test_systemd_is_told_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notifier = Notifier()
        notifier.status(f"{HOSTILE}\nREADY=1\rWATCHDOG=1")
        told = manager.recv(4096)
        notifier.close()
    assert told.startswith(b"STATUS=closed [/red]")
    assert not {b"\n", b"\r", b"\x1b"} & {told[i : i + 1] for i in range(len(told))}
