"""Copy of a database and its write-ahead log into one plain file, by SQLite's backup API."""

from __future__ import annotations

from pathlib import Path

from memory.connection import StoreConnection
from memory.records import Progress
from memory.sqlite_library import sqlite3, translated

_PAGES_AT_ONCE = 2_000


def copy_database(source: StoreConnection, target_path: Path, tell: Progress) -> None:
    """Copy a database, including its write-ahead log, into one plain file."""
    target = sqlite3.connect(target_path, isolation_level=None)
    try:
        with translated("copying the database", target_path):
            source.raw.backup(
                target,
                pages=_PAGES_AT_ONCE,
                progress=lambda _status, remaining, total: tell("database pages", total - remaining),
            )
            # The copy must be one plain file, without a WAL that could be forgotten when it is copied.
            target.execute("PRAGMA journal_mode = DELETE")
    finally:
        target.close()
