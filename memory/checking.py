"""Check: reads everything, and says of each thing that is wrong what it is and what to do."""

from __future__ import annotations

from collections.abc import Iterator

from memory.connection import StoreConnection
from memory.errors import CorruptFileError
from memory.folder import DataFolder
from memory.parameters import ParameterFolder
from memory.pruning import Progress
from memory.records import ParameterFile, Problem
from memory.trials import read_episode

_TOTALS = ("env_steps", "episodes", "trials", "meta_updates")
_EPISODES_AT_ONCE = 100
_RESTORE = "Stop learnd and restore a backup (docs/store.md)."


class CheckRoom:
    """Checks of a store, for ``learnd doctor``; they write nothing and hold no read open for long.

    Args:
        connection: a connection of its own, without a bound on its reads.
    """

    def __init__(self, connection: StoreConnection, folder: DataFolder, parameters: ParameterFolder) -> None:
        self._connection = connection
        self._folder = folder
        self._parameters = parameters

    def check(self, *, progress: Progress | None = None) -> list[Problem]:
        """Return what is wrong: database, references, sums, every parameter file and every episode."""
        tell = progress or (lambda _what, _count: None)
        tell("database", 0)
        problems = list(self._database())
        if problems:
            return problems
        problems += self._references()
        problems += self._sums()
        problems += self._files(tell)
        problems += self._episodes(tell)
        return problems

    def _database(self) -> Iterator[Problem]:
        try:
            found = [str(row[0]) for row in self._connection.rows("PRAGMA integrity_check(20)")]
        except CorruptFileError as error:
            found = [error.found]
        for line in found:
            if line != "ok":
                yield Problem(subject=str(self._folder.store_path), found=line, hint=_RESTORE)

    def _references(self) -> Iterator[Problem]:
        for row in self._connection.rows("PRAGMA foreign_key_check"):
            yield Problem(
                subject=f"table {row[0]}",
                found=f"row {row[1]} refers to a row of {row[2]} that is missing",
                hint=_RESTORE,
            )

    def _sums(self) -> Iterator[Problem]:
        """Totals equal the sum of the learner steps; what is said to be kept equals what is."""
        steps = ", ".join(
            f"coalesce((SELECT sum({name}) FROM learner_steps WHERE family_id = families.id), 0)"
            f" + coalesce((SELECT {name} FROM folded_steps WHERE family_id = families.id), 0) AS stepped_{name}"
            for name in _TOTALS
        )
        kept = (
            "(SELECT count(*) FROM trials WHERE family_id = families.id) AS found_trials,"
            " (SELECT coalesce(sum(num_episodes), 0) FROM trials WHERE family_id = families.id) AS found_episodes,"
            " (SELECT coalesce(sum(size_bytes), 0) FROM trials WHERE family_id = families.id) AS found_bytes"
        )
        for row in self._connection.rows(f"SELECT families.*, {steps}, {kept} FROM families"):
            pairs = [(name, row[name], row[f"stepped_{name}"]) for name in _TOTALS]
            pairs += [
                (f"kept_{name}", row[f"kept_{name}"], row[f"found_{name}"]) for name in ("trials", "episodes", "bytes")
            ]
            for name, said, summed in pairs:
                if said != summed:
                    yield Problem(
                        subject=f"family {row['name']}", found=f"{name} is {said}, its records sum to {summed}"
                    )

    def _files(self, tell: Progress) -> Iterator[Problem]:
        for number, row in enumerate(self._connection.rows("SELECT sha256, size_bytes FROM parameter_files"), start=1):
            file = ParameterFile(sha256=row["sha256"], size_bytes=row["size_bytes"])
            try:
                self._parameters.read(file)
            except CorruptFileError as error:
                # The learner may have replaced it since the list was read.
                if self._connection.row("SELECT 1 FROM parameter_files WHERE sha256 = ?", (file.sha256,)):
                    yield Problem(subject=error.subject, found=error.found, hint=error.hint)
            tell("parameter files", number)

    def _episodes(self, tell: Progress) -> Iterator[Problem]:
        last, number = 0, 0
        while True:
            batch = self._connection.rows(
                "SELECT id, trial_id, number, checksum, payload FROM episodes WHERE id > ? ORDER BY id LIMIT ?",
                (last, _EPISODES_AT_ONCE),
            )
            if not batch:
                return
            for row in batch:
                try:
                    read_episode(row["trial_id"], row)
                except CorruptFileError as error:
                    yield Problem(subject=f"trial {error.subject}", found=error.found, hint=error.hint)
            last = batch[-1]["id"]
            number += len(batch)
            tell("episodes", number)
