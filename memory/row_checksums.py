"""Checksums of rows. They cover the columns that a trainer is restored from, and those that define the served version.

SQLite's own check does not detect a changed byte of a value. Each covered row has the BLAKE2b-128 of its covered
columns, which is verified when the row is loaded. Columns that change with every commit (states, strikes, totals) are
not covered; a check of the store compares totals with the records instead.
"""

from __future__ import annotations

# Import hashlib's implementation directly. Importing hashlib loads OpenSSL, which takes a quarter of the time of
# `learnd status --json`.
from _blake2 import blake2b
from collections.abc import Iterable, Mapping
from typing import Any

from memory.connection import Row, StoreConnection
from memory.records import Problem, ProblemKind
from memory.repair_hint import STOP_AND_REPAIR

COVERED: Mapping[str, tuple[str, ...]] = {
    "families": ("name", "spec", "spaces", "random_return", "reference_return"),
    "checkpoints": ("sha256", "meta", "learner_steps"),
    "initializations": ("version", "parent", "sha256", "scores", "provenance", "reason"),
    "trials": ("family_id", "learner_step", "task", "num_episodes", "num_steps", "trial_return", "size_bytes"),
    "rehearsal_teachers": ("learner_step", "parameters"),
}
"""The covered columns of each table."""

REPAIR = f"{STOP_AND_REPAIR} If that does not help, restore a backup (docs/store.md)."
"""The hint of errors about a damaged part of a store."""

_SIZE_BYTES = 16


def checksum_of(values: Iterable[Any]) -> bytes:
    """Return the BLAKE2b-128 of column values, including their types.

    Args:
        values: values that SQLite returned: None, int, float, str or bytes.
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
    """Return the checksum of a row's covered columns, computed from their present values."""
    return checksum_of(row[column] for column in COVERED[table])


def is_intact(table: str, row: Row) -> bool:
    """Return whether a row matches its checksum. The row must have its covered columns and ``checksum``."""
    held = row["checksum"]
    return isinstance(held, bytes) and held == row_checksum(table, row)


def seal(connection: StoreConnection, table: str, row_id: int) -> None:
    """Record the checksum of a row that was just written, inside the caller's transaction."""
    row = connection.row(f"SELECT {', '.join(COVERED[table])} FROM {table} WHERE id = ?", (row_id,))  # noqa: S608
    if row is not None:
        connection.execute(f"UPDATE {table} SET checksum = ? WHERE id = ?", (row_checksum(table, row), row_id))  # noqa: S608


def row_problem(table: str, row_id: int) -> Problem:
    """Return the problem of a row that does not match its checksum."""
    is_trial = table == "trials"
    return Problem(
        subject=f"trial {row_id}" if is_trial else f"row {row_id} of {table}",
        found="its row does not match its checksum.",
        hint=REPAIR,
        kind=ProblemKind.TRIAL if is_trial else ProblemKind.ROW,
        key=str(row_id) if is_trial else f"{table}:{row_id}",
    )
