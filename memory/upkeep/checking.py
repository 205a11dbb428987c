"""Check of a whole store. Each problem comes with a description and a hint."""

from __future__ import annotations

from collections.abc import Iterator

from memory.connection import StoreConnection
from memory.errors import CorruptFileError
from memory.files.parameters import ParameterFolder
from memory.folder import DataFolder
from memory.records import NUM_SLOTS, ParameterFile, Problem, ProblemKind, Progress
from memory.row_checksums import COVERED, REPAIR, is_intact, row_problem
from memory.tables.trials import read_episode

_TOTALS = ("env_steps", "episodes", "trials", "meta_updates")
_KEPT = ("kept_trials", "kept_episodes", "kept_bytes")
_SUMS = """
SELECT families.*,
       coalesce(stepped.env_steps, 0) + coalesce(folded.env_steps, 0) AS stepped_env_steps,
       coalesce(stepped.episodes, 0) + coalesce(folded.episodes, 0) AS stepped_episodes,
       coalesce(stepped.trials, 0) + coalesce(folded.trials, 0) AS stepped_trials,
       coalesce(stepped.meta_updates, 0) + coalesce(folded.meta_updates, 0) AS stepped_meta_updates,
       coalesce(found.trials, 0) AS found_kept_trials,
       coalesce(present.episodes, 0) AS found_kept_episodes,
       coalesce(found.bytes, 0) AS found_kept_bytes
FROM families
LEFT JOIN (
    SELECT family_id, sum(env_steps) AS env_steps, sum(episodes) AS episodes, sum(trials) AS trials,
           sum(meta_updates) AS meta_updates
    FROM learner_steps GROUP BY family_id
) AS stepped ON stepped.family_id = families.id
LEFT JOIN folded_steps AS folded ON folded.family_id = families.id
LEFT JOIN (
    SELECT family_id, count(*) AS trials, sum(size_bytes) AS bytes
    FROM trials GROUP BY family_id
) AS found ON found.family_id = families.id
LEFT JOIN (
    SELECT trials.family_id, count(*) AS episodes
    FROM episodes JOIN trials ON trials.id = episodes.trial_id GROUP BY trials.family_id
) AS present ON present.family_id = families.id
"""
_INCOMPLETE_TRIALS = """
SELECT trials.id, trials.num_episodes, coalesce(present.episodes, 0) AS episodes
FROM trials
LEFT JOIN (SELECT trial_id, count(*) AS episodes FROM episodes GROUP BY trial_id) AS present
    ON present.trial_id = trials.id
WHERE trials.num_episodes <> coalesce(present.episodes, 0) ORDER BY trials.id
"""
_MISPLACED_SLOTS = """
SELECT rehearsal_trials.rowid AS row_id, families.name, slot, trial_id, trials.family_id <> families.id AS is_foreign
FROM rehearsal_trials
JOIN families ON families.id = rehearsal_trials.family_id
JOIN trials ON trials.id = rehearsal_trials.trial_id
WHERE is_foreign OR NOT slot BETWEEN 0 AND ? OR families.state = 'removed' ORDER BY rehearsal_trials.rowid
"""
_EPISODES_AT_ONCE = 100
_ROWS_AT_ONCE = 1_000


class IntegrityCheck:
    """A check of a store, for ``learnd doctor``. It writes nothing, and none of its reads lasts long.

    Args:
        connection: a separate connection to the store, without a time limit for reads.
        folder: the data folder.
        parameters: the parameter files of the store.
    """

    def __init__(self, connection: StoreConnection, folder: DataFolder, parameters: ParameterFolder) -> None:
        self._connection = connection
        self._folder = folder
        self._parameters = parameters

    def check(self, *, progress: Progress | None = None) -> list[Problem]:
        """Return the problems of the database, its references, totals and rows, the parameter files and the episodes.

        Args:
            progress: called with the kind of items being checked and the number checked so far.
        """
        tell = progress or (lambda _what, _count: None)
        tell("database", 0)
        problems = list(self._database())
        if problems:
            return problems
        problems += self._references()
        problems += self._sums()
        problems += self._rows(tell)
        problems += self._reservoirs()
        problems += self._files(tell)
        problems += self._incomplete_trials()
        problems += self._episodes(tell)
        return problems

    def _database(self) -> Iterator[Problem]:
        try:
            found = [str(row[0]) for row in self._connection.rows("PRAGMA integrity_check(20)")]
        except CorruptFileError as error:
            found = [error.found]
        for line in found:
            if line != "ok":
                yield Problem(subject=str(self._folder.store_path), found=line, hint=REPAIR)

    def _references(self) -> Iterator[Problem]:
        for row in self._connection.rows("PRAGMA foreign_key_check"):
            yield Problem(
                subject=f"table {row[0]}",
                found=f"row {row[1]} refers to a row of {row[2]} that is missing",
                hint=REPAIR,
                kind=ProblemKind.ROW,
                key=f"{row[0]}:{row[1]}",
            )

    def _sums(self) -> Iterator[Problem]:
        """Yield the totals that differ from the sum of the learner steps, and the counts that differ from the rows."""
        for row in self._connection.rows(_SUMS):
            pairs = [(name, row[name], row[f"stepped_{name}"]) for name in _TOTALS]
            pairs += [(name, row[name], row[f"found_{name}"]) for name in _KEPT]
            for name, recorded, summed in pairs:
                if recorded != summed:
                    yield Problem(
                        subject=f"family {row['name']}",
                        found=f"{name} is {recorded}, its records sum to {summed}",
                        hint=REPAIR,
                        kind=ProblemKind.TOTALS,
                        key=f"{row['id']}:{name}",
                    )

    def _rows(self, tell: Progress) -> Iterator[Problem]:
        """Yield the rows that do not match their checksum. A store of an older schema has no checksums."""
        for table in COVERED:
            if not any(column["name"] == "checksum" for column in self._connection.rows(f"PRAGMA table_info({table})")):
                continue
            last, number = 0, 0
            select = f"SELECT * FROM {table} WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
            while batch := self._connection.rows(select, (last, _ROWS_AT_ONCE)):
                for row in batch:
                    if not is_intact(table, row):
                        yield row_problem(table, row["id"])
                last = batch[-1]["id"]
                number += len(batch)
                tell(f"rows of {table}", number)

    def _reservoirs(self) -> Iterator[Problem]:
        """Yield the rows of reservoirs that no commit writes. They have no checksum, only references to other rows."""
        for row in self._connection.rows(_MISPLACED_SLOTS, (NUM_SLOTS - 1,)):
            owner = "another family" if row["is_foreign"] else "the family"
            yield Problem(
                subject=f"slot {row['slot']} of the rehearsal reservoir of {row['name']}",
                found=f"trial {row['trial_id']} of {owner} cannot be in it.",
                hint=REPAIR,
                kind=ProblemKind.ROW,
                key=f"rehearsal_trials:{row['row_id']}",
            )

    def _incomplete_trials(self) -> Iterator[Problem]:
        for row in self._connection.rows(_INCOMPLETE_TRIALS):
            yield Problem(
                subject=f"trial {row['id']}",
                found=f"{row['episodes']} of {row['num_episodes']} episodes are present.",
                hint=REPAIR,
                kind=ProblemKind.TRIAL,
                key=str(row["id"]),
            )

    def _files(self, tell: Progress) -> Iterator[Problem]:
        for number, row in enumerate(self._connection.rows("SELECT sha256, size_bytes FROM parameter_files"), start=1):
            file = ParameterFile(sha256=row["sha256"], size_bytes=row["size_bytes"])
            try:
                self._parameters.read(file)
            except CorruptFileError as error:
                # The trainer may have replaced the file since the list was read.
                if self._connection.row("SELECT 1 FROM parameter_files WHERE sha256 = ?", (file.sha256,)):
                    yield file_problem(file.sha256, error)
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
                    yield Problem(
                        subject=f"trial {error.subject}",
                        found=error.found,
                        hint=REPAIR,
                        kind=ProblemKind.TRIAL,
                        key=error.subject,
                    )
            last = batch[-1]["id"]
            number += len(batch)
            tell("episodes", number)


def file_problem(sha256: str, error: CorruptFileError) -> Problem:
    """Return the problem of a damaged parameter file."""
    return Problem(subject=error.subject, found=error.found, hint=REPAIR, kind=ProblemKind.PARAMETER_FILE, key=sha256)
