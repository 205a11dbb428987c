"""A connection to the store, with short transactions, bounded reads and translated errors."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memory.errors import CorruptFileError, MemoryStoreError
from memory.sqlite_library import sqlite3, translated

Row = sqlite3.Row
Parameters = Sequence[Any] | Mapping[str, Any]

BUSY_TIMEOUT_S = 10.0
READ_LIMIT_S = 5.0
"""Time limit of a reader's transaction: the write-ahead log cannot be reset while a reader has a snapshot open."""

JOURNAL_SIZE_LIMIT_BYTES = 16 << 20
_WAL_TIMEOUT_MS = 200
_OPERATIONS_PER_DEADLINE_CHECK = 20_000


class StoreConnection:
    """A connection to the database, with transactions and snapshots.

    Several threads may use it; a transaction or read locks it until the transaction or read ends.

    Args:
        path: the database file.
        is_reader: never write, and bound every read by ``read_limit_s``.
        must_exist: do not create a missing database file. A reader never creates one.
        clock: wall clock, seconds since the epoch.
        read_limit_s: time limit of one read in seconds; None for no limit (for checks that read everything).
    """

    def __init__(
        self,
        path: Path,
        *,
        is_reader: bool,
        must_exist: bool = False,
        clock: Callable[[], float] = time.time,
        read_limit_s: float | None = READ_LIMIT_S,
    ) -> None:
        self.path = path
        self.is_reader = is_reader
        self.clock = clock
        self._read_limit_s = read_limit_s if is_reader else None
        self._deadline = float("inf")
        self._lock = threading.RLock()
        self._is_durable = True
        with translated("opening the store", path):
            self.raw = _connect(path, is_reader=is_reader, must_exist=must_exist)
        if self._read_limit_s is not None:
            self.raw.set_progress_handler(self._is_past_deadline, _OPERATIONS_PER_DEADLINE_CHECK)

    def _is_past_deadline(self) -> bool:
        return time.monotonic() > self._deadline

    def is_in_transaction(self) -> bool:
        """Return whether a transaction or snapshot is open."""
        return self.raw.in_transaction

    def changes(self) -> tuple[int, int] | None:
        """Return numbers that differ from earlier ones if anything was written since; None inside a transaction.

        What a transaction wrote may be undone without any further change of the numbers.
        """
        with self._lock:
            if self.is_in_transaction():
                return None
            return int(self.value("PRAGMA data_version")), self.raw.total_changes

    def close(self) -> None:
        """Close the connection. The last connection that closes moves the WAL into the database."""
        with self._lock, translated("closing the store", self.path):
            self.raw.close()

    @contextmanager
    def transaction(self, operation: str, *, is_durable: bool = True) -> Iterator[None]:
        """Run the block as one transaction, or as a part of the transaction that is already open.

        Args:
            operation: the operation, as a gerund, for errors.
            is_durable: whether the commit must survive a power cut after the end of the block.

        Raises:
            StoreFullError: the disk is full; nothing was recorded.
            StoreBusyError: the write lock was not acquired in time; nothing was recorded.
            MemoryStoreError: the connection is a reader.
        """
        if self.is_reader:
            raise MemoryStoreError(
                operation=operation, subject=str(self.path), found="this store was opened for reading only."
            )
        with self._lock:
            if self.is_in_transaction():
                yield
                return
            with translated(operation, self.path):
                self._set_durable(is_durable=is_durable)
                # IMMEDIATE, because a deferred transaction that reads before it writes can fail with
                # SQLITE_BUSY_SNAPSHOT, to which the busy time-out does not apply.
                self.raw.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self.raw.execute("COMMIT")
                except BaseException:
                    if self.is_in_transaction():
                        self.raw.execute("ROLLBACK")
                    raise

    def _set_durable(self, *, is_durable: bool) -> None:
        """Choose whether commits wait for the disk.

        FULL is for all data that is acknowledged. In WAL mode NORMAL survives kill -9 but not a power cut. After a
        power cut the database would be at an older commit whose checkpoint file has already been removed, because a
        superseded file is removed after the commit that superseded it. NORMAL is for rows that only mirror a running
        process (the daemon's status). A later FULL commit makes them durable too, since it syncs the whole WAL.
        """
        if is_durable != self._is_durable:
            self.raw.execute("PRAGMA synchronous = " + ("FULL" if is_durable else "NORMAL"))
            self._is_durable = is_durable

    @contextmanager
    def snapshot(self, operation: str = "reading the store") -> Iterator[None]:
        """Run all reads of the block on one state of the store; inside a transaction, on that transaction's state."""
        with self._lock:
            if self.is_in_transaction():
                yield
                return
            with translated(operation, self.path):
                self._start_deadline()
                self.raw.execute("BEGIN")
                try:
                    yield
                finally:
                    self._deadline = float("inf")
                    if self.is_in_transaction():
                        self.raw.execute("ROLLBACK")

    def _start_deadline(self) -> None:
        if self._read_limit_s is not None:
            self._deadline = time.monotonic() + self._read_limit_s

    def truncate_wal(self) -> bool:
        """Move the write-ahead log into the database and empty it; return whether this succeeded.

        The call waits for readers only briefly: otherwise the next prune, or the trainer's next commits, empty the log.
        """
        with self._lock, translated("emptying the write-ahead log", self.path):
            self.raw.execute(f"PRAGMA busy_timeout = {_WAL_TIMEOUT_MS}")
            try:
                return bool(self.raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0] == 0)
            finally:
                self.raw.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Return all rows of a query. The query has ended when this returns, so it keeps no snapshot open."""
        with self._lock, translated("reading the store", self.path):
            is_alone = not self.is_in_transaction()
            if is_alone:
                self._start_deadline()
            try:
                return self._execute(sql, parameters).fetchall()
            finally:
                if is_alone:
                    self._deadline = float("inf")

    def row(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """Return the first row of a query, or None."""
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def value(self, sql: str, parameters: Parameters = ()) -> Any:
        """Return the first column of the first row of a query, or None."""
        found = self.row(sql, parameters)
        return None if found is None else found[0]

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Execute a writing statement inside a transaction; return the number of rows it changed."""
        return self._in_transaction(sql, parameters).rowcount

    def insert(self, sql: str, parameters: Parameters = ()) -> int:
        """Execute an INSERT of one row inside a transaction; return the row's id."""
        row_id = self._in_transaction(sql, parameters).lastrowid
        return 0 if row_id is None else row_id

    def _in_transaction(self, sql: str, parameters: Parameters) -> sqlite3.Cursor:
        with self._lock:
            if not self.is_in_transaction():
                raise MemoryStoreError(
                    operation="writing to the store", subject=str(self.path), found="no transaction is open."
                )
            try:
                return self._execute(sql, parameters)
            except UnicodeEncodeError:
                return self._execute(sql, _without_surrogates(parameters))

    def _execute(self, sql: str, parameters: Parameters) -> sqlite3.Cursor:
        try:
            return self.raw.execute(sql, parameters)
        except OverflowError as error:
            found = "a number has more than 64 bits, which the store cannot hold."
            raise MemoryStoreError(operation="using the store", subject=str(self.path), found=found) from error


def _connect(path: Path, *, is_reader: bool, must_exist: bool) -> sqlite3.Connection:
    mode = "ro" if is_reader else "rw" if must_exist else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.row_factory = sqlite3.Row
    connection.text_factory = _decoded
    if is_reader:
        connection.execute("PRAGMA query_only = ON")
        return connection
    if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
        # This takes effect on a new database only. It lets prune free pages in small steps.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT_BYTES}")
    return connection


def _without_surrogates(parameters: Parameters) -> Parameters:
    """Return parameters with lone surrogates escaped. Text of an environment, or a file name, may not be UTF-8."""
    if isinstance(parameters, Mapping):
        return {name: _encodable(value) for name, value in parameters.items()}
    return [_encodable(value) for value in parameters]


def _encodable(value: Any) -> Any:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _decoded(raw: bytes) -> str:
    """Return the text of a column. A damaged byte is replaced, so that the query succeeds; a checksum detects it."""
    return raw.decode("utf-8", "replace")


def to_json(value: Any) -> str:
    """Return JSON text for a column."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def from_json(text: str) -> Any:
    """Return the value of a JSON column.

    Raises:
        CorruptFileError: the text is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise CorruptFileError(
            operation="reading the store",
            subject=str(text)[:60],
            found=f"a column does not hold JSON: {error}.",
            hint="`learnd doctor` checks the whole store.",
        ) from error
