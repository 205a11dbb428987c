"""Initializations: published versions with their parents, rejected candidates with their scores, rollbacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from memory.connection import Row, StoreConnection, from_json, to_json
from memory.errors import CorruptFileError, ParentChangedError, VersionNotFoundError
from memory.files.intact_copies import read_or_mend
from memory.files.parameters import ParameterFolder
from memory.folder import DataFolder
from memory.records import FamilyScore, Initialization, InitializationState, ParameterFile, Rollback
from memory.repair_hint import STOP_AND_REPAIR
from memory.row_checksums import is_intact, seal
from memory.tables.parameter_files import record_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SELECT = (
    "SELECT initializations.*, parameter_files.size_bytes FROM initializations JOIN parameter_files USING (sha256)"
)


class InitializationTable:
    """The initializations of a store."""

    def __init__(self, connection: StoreConnection, folder: DataFolder, parameters: ParameterFolder) -> None:
        self._connection = connection
        self._folder = folder
        self._parameters = parameters

    def publish(
        self,
        tensors: Mapping[str, NDArray[Any]],
        *,
        metadata: Mapping[str, str] | None = None,
        scores: Sequence[FamilyScore],
        provenance: dict[str, Any],
        reason: str,
        parent: int | None,
    ) -> Initialization:
        """Publish a candidate as the next version and make it the current one.

        Args:
            tensors: the parameters.
            metadata: text values for the file's own header, for programs that load the file without a store.
            scores: scores of the candidate and its parent, per family.
            provenance: learner, settings, family totals, learnd's version.
            reason: the reason for publishing it, as text for people.
            parent: the version that it was scored against; None for the first.

        Raises:
            ParentChangedError: another version has become current, for example by a rollback; the candidate must be
                scored again.
            StoreFullError: the disk is full; nothing was recorded.
        """
        with self._parameters.kept_still():
            file = self._parameters.write(tensors, metadata=metadata)
            with self._connection.transaction("publishing an initialization"):
                self._require_current(parent)
                version = self._connection.value("SELECT coalesce(max(version), 0) + 1 FROM initializations")
                self._connection.execute("UPDATE initializations SET is_current = 0 WHERE is_current = 1")
                row_id = self._insert(
                    file, scores, provenance, reason, parent, state=InitializationState.PUBLISHED, version=version
                )
                return self._by_id(row_id)

    def _require_current(self, parent: int | None) -> None:
        current = self._connection.value("SELECT version FROM initializations WHERE is_current = 1")
        if current != parent:
            raise ParentChangedError(
                operation="publishing a candidate with parent",
                subject=str(parent),
                found=f"version {current} is current now.",
                hint="Score the candidate against that version.",
                is_recoverable=True,
            )

    def reject(
        self,
        tensors: Mapping[str, NDArray[Any]],
        *,
        metadata: Mapping[str, str] | None = None,
        scores: Sequence[FamilyScore],
        provenance: dict[str, Any],
        reason: str,
        parent: int | None,
    ) -> Initialization:
        """Record a candidate that was not published. The arguments are those of :meth:`publish`."""
        with self._parameters.kept_still():
            file = self._parameters.write(tensors, metadata=metadata)
            with self._connection.transaction("rejecting a candidate"):
                row_id = self._insert(
                    file, scores, provenance, reason, parent, state=InitializationState.REJECTED, version=None
                )
                return self._by_id(row_id)

    def _insert(
        self,
        file: ParameterFile,
        scores: Sequence[FamilyScore],
        provenance: dict[str, Any],
        reason: str,
        parent: int | None,
        *,
        state: InitializationState,
        version: int | None,
    ) -> int:
        record_file(self._connection, file)
        row_id = self._connection.insert(
            "INSERT INTO initializations (version, parent, state, is_current, sha256, scores, provenance, reason,"
            " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                version,
                parent,
                state,
                version is not None,
                file.sha256,
                to_json([asdict(score) for score in scores]),
                to_json(provenance),
                reason,
                self._connection.clock(),
            ),
        )
        seal(self._connection, "initializations", row_id)
        return row_id

    def all(self) -> list[Initialization]:
        """Return all initializations, published and rejected, newest first; damaged ones are marked."""
        return [_initialization(row) for row in self._connection.rows(f"{_SELECT} ORDER BY id DESC")]

    def newest(self, limit: int) -> list[Initialization]:
        """Return the newest ``limit`` initializations as :meth:`all` does."""
        return [_initialization(row) for row in self._connection.rows(f"{_SELECT} ORDER BY id DESC LIMIT ?", (limit,))]

    def rollbacks(self, *, limit: int) -> list[Rollback]:
        """Return the newest ``limit`` rollbacks, newest first."""
        found = self._connection.rows(
            "SELECT from_version, to_version, reason, at FROM rollbacks ORDER BY id DESC LIMIT ?", (limit,)
        )
        return [Rollback(**dict(row)) for row in found]

    def current_version(self) -> int | None:
        """Return the number of the version that is served now; None before the first version."""
        version = self._connection.value("SELECT version FROM initializations WHERE is_current = 1")
        return None if version is None else int(version)

    def current(self) -> Initialization | None:
        """Return the version that is served now; None before the first version.

        Raises:
            CorruptFileError: the version's row is damaged.
        """
        row = self._connection.row(f"{_SELECT} WHERE is_current = 1")
        return None if row is None else _intact(row)

    def get(self, version: int) -> Initialization:
        """Return a version.

        Raises:
            VersionNotFoundError: there is no version of that number.
            CorruptFileError: the version's row is damaged.
        """
        row = self._connection.row(f"{_SELECT} WHERE version = ?", (version,))
        if row is None:
            raise _no_version(str(version), "there is none of that number.")
        return _intact(row)

    def roll_back(self, *, to: int | None = None, reason: str) -> Initialization:
        """Make another version the current one, and mark the present one as ``ROLLED_BACK``.

        Args:
            to: the version that becomes current; None takes the parent of the current version.
            reason: the reason, as text for people; stored in the table ``rollbacks``.

        Raises:
            VersionNotFoundError: there is no such version, there is nothing to roll back, or the version is already
                current.
            CorruptFileError: the version's file is missing or damaged; nothing was changed.
        """
        with self._connection.transaction("rolling back an initialization"):
            current = self.current_version()
            if current is None:
                raise _no_version("current", "nothing has been published yet.")
            target = to if to is not None else self.get(current).parent
            if target is None:
                raise _no_version(str(current), "it is the first version and has no parent.")
            if target == current:
                raise _no_version(str(target), "it is the current version already.")
            read_or_mend(self._parameters, self._folder, self.get(target).file)
            self._move_current(current, target)
            self._connection.execute(
                "INSERT INTO rollbacks (from_version, to_version, reason, at) VALUES (?, ?, ?, ?)",
                (current, target, reason, self._connection.clock()),
            )
            return self.get(target)

    def _move_current(self, current: int, target: int) -> None:
        self._connection.execute(
            "UPDATE initializations SET is_current = 0, state = ? WHERE version = ?",
            (InitializationState.ROLLED_BACK, current),
        )
        self._connection.execute(
            "UPDATE initializations SET is_current = 1, state = ? WHERE version = ?",
            (InitializationState.PUBLISHED, target),
        )

    def _by_id(self, row_id: int) -> Initialization:
        return _initialization(self._connection.rows(f"{_SELECT} WHERE initializations.id = ?", (row_id,))[0])


def _no_version(subject: str, found: str) -> VersionNotFoundError:
    return VersionNotFoundError(
        operation="looking up version",
        subject=subject,
        found=found,
        hint="`learnd policy list` shows those there are.",
    )


def _intact(row: Row) -> Initialization:
    if not is_intact("initializations", row):
        raise CorruptFileError(
            operation="reading version",
            subject=str(row["version"]),
            found="its row does not match its checksum.",
            hint=f"{STOP_AND_REPAIR} Or go to another version: `learnd policy rollback`.",
        )
    return _initialization(row)


def _initialization(row: Row) -> Initialization:
    is_known = row["state"] in list(InitializationState)
    is_damaged = not (is_known and is_intact("initializations", row))
    return Initialization(
        id=row["id"],
        version=row["version"],
        parent=row["parent"],
        state=InitializationState(row["state"]) if is_known else InitializationState.ROLLED_BACK,
        is_current=bool(row["is_current"]),
        file=ParameterFile(sha256=row["sha256"], size_bytes=row["size_bytes"]),
        scores=() if is_damaged else tuple(FamilyScore(**score) for score in from_json(row["scores"])),
        provenance={} if is_damaged else from_json(row["provenance"]),
        reason="its row in the store does not match its checksum" if is_damaged else row["reason"],
        created_at=row["created_at"],
        is_damaged=is_damaged,
    )
