"""Checkpoints: the learner's complete state at its last commit, and verified older generations of it."""

from __future__ import annotations

from typing import Any

from memory.connection import Row, StoreConnection, from_json, to_json
from memory.errors import CorruptFileError
from memory.files.intact_copies import read_or_mend
from memory.files.parameters import ParameterFolder
from memory.folder import DataFolder
from memory.records import Checkpoint, ParameterFile
from memory.row_checksums import is_intact, seal
from memory.tables.parameter_files import forget_unreferenced, is_recorded, record_file

_SELECT = "SELECT checkpoints.*, parameter_files.size_bytes FROM checkpoints JOIN parameter_files USING (sha256)"


class CheckpointTable:
    """The checkpoints of a store: one live checkpoint, which every learner step replaces, and kept generations."""

    def __init__(self, connection: StoreConnection, folder: DataFolder, parameters: ParameterFolder) -> None:
        self._connection = connection
        self._folder = folder
        self._parameters = parameters

    def live(self) -> Checkpoint | None:
        """Return the checkpoint of the last committed learner step; None before the first.

        Raises:
            CorruptFileError: the checkpoint's row is damaged.
        """
        row = self._connection.row(f"{_SELECT} WHERE is_live = 1")
        return None if row is None else _checkpoint(row)

    def num_learner_steps(self) -> int:
        """Return the number of learner steps committed so far, including steps whose checkpoints were removed."""
        return int(self._connection.value("SELECT seq FROM sqlite_sequence WHERE name = 'learner_steps'") or 0)

    def set_live(self, file: ParameterFile, meta: str, *, learner_steps: int, at: float) -> list[str]:
        """Replace the live checkpoint inside the caller's transaction.

        Returns:
            The sha256 of each file that no row refers to any more.
        """
        superseded = self._connection.rows("SELECT sha256 FROM checkpoints WHERE is_live = 1")
        record_file(self._connection, file)
        self._connection.execute("DELETE FROM checkpoints WHERE is_live = 1")
        row_id = self._connection.insert(
            "INSERT INTO checkpoints (is_live, sha256, meta, learner_steps, created_at) VALUES (1, ?, ?, ?, ?)",
            (file.sha256, meta, learner_steps, at),
        )
        seal(self._connection, "checkpoints", row_id)
        return forget_unreferenced(self._connection, among=[row["sha256"] for row in superseded])

    def keep_live(self, *, keep: int) -> Checkpoint | None:
        """Verify the file of the live checkpoint, and keep the checkpoint as a generation.

        Args:
            keep: number of generations to keep, at least 1; older ones are removed.

        Returns:
            The generation; None if there is no checkpoint yet.

        Raises:
            CorruptFileError: the live file is missing or damaged; the generations are unchanged.
            ValueError: ``keep`` is below 1.
        """
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        with self._parameters.kept_still():
            live = self.live()
            if live is None:
                return None
            self._parameters.read(live.file)
            with self._connection.transaction("keeping a checkpoint"):
                kept = self._add_generation(live)
                self._connection.execute(
                    "DELETE FROM checkpoints WHERE is_live = 0 AND id NOT IN"
                    " (SELECT id FROM checkpoints WHERE is_live = 0 ORDER BY learner_steps DESC, id DESC LIMIT ?)",
                    (keep,),
                )
                superseded = forget_unreferenced(self._connection)
        self.remove_files(superseded)
        return kept

    def _add_generation(self, live: Checkpoint) -> Checkpoint:
        held = self._connection.row(
            f"{_SELECT} WHERE is_live = 0 AND sha256 = ? AND learner_steps = ?",
            (live.file.sha256, live.learner_steps),
        )
        if held is not None and is_intact("checkpoints", held):
            return _checkpoint(held)
        # The trainer may have committed another step since the file was read. The folder's lock prevented the removal
        # of the file.
        record_file(self._connection, live.file)
        row_id = self._connection.insert(
            "INSERT INTO checkpoints (is_live, sha256, meta, learner_steps, created_at) VALUES (0, ?, ?, ?, ?)",
            (live.file.sha256, to_json(live.meta), live.learner_steps, live.created_at),
        )
        seal(self._connection, "checkpoints", row_id)
        return live

    def kept(self) -> list[Checkpoint]:
        """Return the kept generations whose rows are intact, newest first."""
        found = self._connection.rows(f"{_SELECT} WHERE is_live = 0 ORDER BY learner_steps DESC, id DESC")
        return [_checkpoint(row) for row in found if is_intact("checkpoints", row)]

    def restore_candidates(self) -> list[Checkpoint]:
        """Return the checkpoints that a trainer may start from: the live one first, then generations, newest first.

        Rows that do not match their checksum are left out. The first candidate is the live checkpoint if its number of
        learner steps equals :meth:`num_learner_steps`.
        """
        found = self._connection.rows(f"{_SELECT} ORDER BY is_live DESC, learner_steps DESC, id DESC")
        return [_checkpoint(row) for row in found if is_intact("checkpoints", row)]

    def load_parameters(self, file: ParameterFile) -> dict[str, Any]:
        """Verify a file's checksum and return its tensors (numpy arrays).

        A store that is open for writing replaces a damaged file by an intact copy of the same content from a backup.

        Raises:
            CorruptFileError: the file is missing or damaged, and no backup has an intact copy.
        """
        if not self._connection.is_reader:
            read_or_mend(self._parameters, self._folder, file)
        return self._parameters.load(file)

    def remove_files(self, superseded: list[str]) -> None:
        """Remove files that the committed store no longer refers to.

        If another process holds the folder's lock, the files are left for prune to remove.
        """
        if not superseded:
            return
        with self._parameters.removable() as is_free:
            for sha256 in superseded if is_free else ():
                if not is_recorded(self._connection, sha256):
                    self._parameters.remove(sha256)


def _checkpoint(row: Row) -> Checkpoint:
    if not is_intact("checkpoints", row):
        raise CorruptFileError(
            operation="reading the checkpoint of learner step",
            subject=str(row["learner_steps"]),
            found="its row does not match its checksum.",
            hint="The trainer continues from an older checkpoint; see `learnd status`.",
        )
    return Checkpoint(
        file=ParameterFile(sha256=row["sha256"], size_bytes=row["size_bytes"]),
        meta=from_json(row["meta"]),
        learner_steps=row["learner_steps"],
        created_at=row["created_at"],
    )
