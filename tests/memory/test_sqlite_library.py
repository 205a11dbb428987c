"""Errors of SQLite as those of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory.errors import StoreBusyError
from memory.sqlite_library import sqlite3, translated


@pytest.mark.parametrize("name", ["SQLITE_BUSY", "SQLITE_BUSY_RECOVERY", "SQLITE_PROTOCOL"])
def test_a_lock_that_another_process_holds_is_waited_for(name: str, tmp_path: Path) -> None:
    error = sqlite3.OperationalError("it is locked")
    error.sqlite_errorname = name
    with pytest.raises(StoreBusyError, match=name) as raised, translated("reading the store", tmp_path):
        raise error
    assert raised.value.is_recoverable
