"""Copying a database as one plain file, by SQLite's backup API: what is in its write-ahead log comes along."""

from __future__ import annotations

from pathlib import Path

from memory.connection import StoreConnection
from memory.records import Progress
from memory.sqlite_library import sqlite3, translated

_PAGES_AT_ONCE = 2_000


def copy_database(source: StoreConnection, target_path: Path, tell: Progress) -> None:
    """Copy a database, its write-ahead log included, into one plain file by SQLite's backup API."""
    target = sqlite3.connect(target_path, isolation_level=None)
    try:
        with translated("copying the database", target_path):
            source.raw.backup(
                target,
                pages=_PAGES_AT_ONCE,
                progress=lambda _status, remaining, total: tell("database pages", total - remaining),
            )
            # One plain file: no WAL beside it that a copy could forget.
            target.execute("PRAGMA journal_mode = DELETE")
    finally:
        target.close()
