"""Errors of SQLite as those of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory.errors import MemoryStoreError, StoreBusyError
from memory.sqlite_library import sqlite3, translated
from memory.store import Store


@pytest.mark.parametrize("name", ["SQLITE_BUSY", "SQLITE_BUSY_RECOVERY", "SQLITE_PROTOCOL"])
def test_a_lock_that_another_process_holds_is_waited_for(name: str, tmp_path: Path) -> None:
    error = sqlite3.OperationalError("it is locked")
    error.sqlite_errorname = name
    with pytest.raises(StoreBusyError, match=name) as raised, translated("reading the store", tmp_path):
        raise error
    assert raised.value.is_recoverable


def test_a_number_of_more_than_64_bits_is_an_error_of_the_store(store: Store) -> None:
    with pytest.raises(MemoryStoreError, match="more than 64 bits"):
        store.jobs.runs(limit=1 << 64)
