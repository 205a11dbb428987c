"""Checksums of rows: the columns that the learner restores from, or that say what is served, are verified when loaded.

SQLite's own check does not notice a changed byte of a value. Each covered row holds the BLAKE2b-128 of its columns.
Columns that change with every commit (states, strikes, totals) are not covered: totals are checked against records.
"""

from __future__ import annotations

# hashlib's own blake2b, without OpenSSL, which takes a quarter of the time of `learnd status --json` to load.
from _blake2 import blake2b
from collections.abc import Iterable, Mapping
from typing import Any

from memory.connection import Row, StoreConnection

COVERED: Mapping[str, tuple[str, ...]] = {
    "families": ("name", "spec", "spaces", "random_return", "reference_return"),
    "checkpoints": ("sha256", "meta", "learner_steps"),
    "initializations": ("version", "parent", "sha256", "scores", "provenance", "reason"),
    "trials": ("family_id", "learner_step", "task", "num_episodes", "num_steps", "trial_return", "size_bytes"),
}
"""The covered columns by table."""

_SIZE_BYTES = 16


def checksum_of(values: Iterable[Any]) -> bytes:
    """Return the BLAKE2b-128 of column values, their types included.

    Args:
        values: what SQLite returned: None, int, float, str or bytes.
    """
    digest = blake2b(digest_size=_SIZE_BYTES)
    for value in values:
        kind, content = _encoded(value)
        digest.update(kind + len(content).to_bytes(8, "big") + content)
    return digest.digest()


def _encoded(value: Any) -> tuple[bytes, bytes]:
    if value is None:
        return b"n", b""
    if isinstance(value, float):
        return b"f", value.hex().encode()
    if isinstance(value, int):
        return b"i", str(value).encode()
    if isinstance(value, str):
        return b"s", value.encode("utf-8", "surrogatepass")
    return b"b", bytes(value)


def row_checksum(table: str, row: Row) -> bytes:
    """Return the checksum of a row's covered columns as they are now."""
    return checksum_of(row[column] for column in COVERED[table])


def is_intact(table: str, row: Row) -> bool:
    """Return whether a row with its covered columns and ``checksum`` is what was written."""
    held = row["checksum"]
    return isinstance(held, bytes) and held == row_checksum(table, row)


def seal(connection: StoreConnection, table: str, row_id: int) -> None:
    """Record the checksum of a row as it was just written, inside the caller's transaction."""
    row = connection.row(f"SELECT {', '.join(COVERED[table])} FROM {table} WHERE id = ?", (row_id,))  # noqa: S608
    if row is not None:
        connection.execute(f"UPDATE {table} SET checksum = ? WHERE id = ?", (row_checksum(table, row), row_id))  # noqa: S608
