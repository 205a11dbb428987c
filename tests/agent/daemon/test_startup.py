"""The steps of a start of the daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agent.daemon.startup import hold_folder
from memory.folder import DataFolder


def test_a_start_removes_what_a_killed_restore_drill_left(tmp_path: Path) -> None:
    left = tmp_path / "data" / ".drill-abc.tmp"
    (left / "learnd").mkdir(parents=True)
    left.parent.chmod(0o700)
    with asyncio.run(hold_folder(DataFolder(tmp_path / "data"))):
        assert not left.exists()
