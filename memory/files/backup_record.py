"""The record ``backup.json`` of a backup, and the list of the backups of a data folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memory.connection import StoreConnection
from memory.errors import MemoryStoreError
from memory.files.parameters import write_durably
from memory.folder import DataFolder
from memory.identity import identity_of_database, identity_of_folder
from memory.records import Problem, ProblemKind

RECORD_NAME = "backup.json"
FUTURE_TOLERANCE_S = 300.0
"""A backup whose time is farther in the future than this was made while the clock was ahead."""

_NAME_FORMAT = "%Y-%m-%dT%H-%M-%S.%fZ"


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A finished backup.

    Attributes:
        path: folder of the backup.
        sequence: number of the backup, by which backups are ordered; None if it was made before backups had numbers.
        made_at: time at which it was made, by the clock of that time, in seconds since the epoch; None if unknown.
        is_clean: whether the store had no damage when the backup was made.
        damaged: parts of the store that were damaged when the backup was made. The backup lacks them or holds them in a
            repaired form.
    """

    path: Path
    sequence: int | None
    made_at: float | None
    is_clean: bool
    damaged: tuple[Problem, ...]

    def store_id(self) -> str | None:
        """Return the UUID of the backup's store, from ``store-id`` or else from the database; None if unknown."""
        return store_id_of(DataFolder(self.path))

    def is_from_future(self, now: float) -> bool:
        """Return whether the recorded time of the backup is later than the present."""
        return self.made_at is not None and self.made_at > now + FUTURE_TOLERANCE_S


def name_at(at: float) -> str:
    """Return the name of a backup that is made at the given time, in seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).strftime(_NAME_FORMAT)


def write_record(backup: DataFolder, *, sequence: int, made_at: float, damaged: Iterable[Problem]) -> None:
    """Write ``backup.json`` into a backup's folder."""
    values = {
        "sequence": sequence,
        "made_at": made_at,
        "damaged": [
            {"kind": str(p.kind), "key": p.key, "subject": p.subject, "found": p.found, "hint": p.hint} for p in damaged
        ],
    }
    write_durably(backup.path / RECORD_NAME, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())


def read_backup(path: Path) -> Backup:
    """Read a backup's folder name and ``backup.json``.

    A ``backup.json`` that cannot be read gives a backup without a number that is not clean.
    """
    at = _time_of_name(path.name)
    try:
        values: dict[str, Any] = json.loads((path / RECORD_NAME).read_text(encoding="utf-8"))
        made_at = float(values["made_at"])
        return Backup(
            path=path,
            sequence=int(values["sequence"]),
            made_at=made_at if at is None else max(at, made_at),
            is_clean=not values["damaged"],
            damaged=tuple(
                Problem(**{**problem, "kind": ProblemKind(problem["kind"])}) for problem in values["damaged"]
            ),
        )
    except FileNotFoundError:
        return Backup(path=path, sequence=None, made_at=at, is_clean=True, damaged=())
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return Backup(path=path, sequence=None, made_at=at, is_clean=False, damaged=())


def listed_backups(folder: DataFolder) -> list[Backup]:
    """Return the finished backups of a data folder, newest first. The store itself may be damaged or missing.

    Backups are ordered by their numbers. Backups without a number come after all others, ordered by name.
    """
    found = [read_backup(path) for path in folder.backups_path.glob("[0-9]*Z") if path.is_dir()]
    return sorted(found, key=lambda b: (b.sequence is not None, b.sequence or 0, b.path.name), reverse=True)


def newest_backup(folder: DataFolder) -> Backup | None:
    """Return the newest backup of the folder's own store.

    Without a backup of the own store, the newest backup of an unknown store is returned. A backup of another store is
    never returned, unless the UUID of the folder's own store is unknown: then the newest of all backups is returned.
    """
    backups = listed_backups(folder)
    own = store_id_of(folder)
    if own is None:
        return next(iter(backups), None)
    of_store = [(backup, backup.store_id()) for backup in backups]
    return next(
        (backup for wanted in (own, None) for backup, store_id in of_store if store_id == wanted),
        None,
    )


def store_id_of(folder: DataFolder) -> str | None:
    """Return the UUID of a folder's store: that in ``store-id``, else its database's; None if neither can be read."""
    return identity_of_folder(folder.path) or _identity_in(folder)


def _identity_in(folder: DataFolder) -> str | None:
    if not folder.store_path.exists():
        return None
    try:
        connection = StoreConnection(folder.store_path, is_reader=True)
    except MemoryStoreError:
        return None
    try:
        return identity_of_database(connection)
    except MemoryStoreError:
        return None
    finally:
        connection.close()


def _time_of_name(name: str) -> float | None:
    try:
        return datetime.strptime(name, _NAME_FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
