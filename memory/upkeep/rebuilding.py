"""Rebuilding of what the rows of a store determine: its indexes, and the families' counts of kept trials."""

from __future__ import annotations

import re
from collections.abc import Sequence

from memory.files.parameters import ParameterFolder
from memory.folder import DataFolder
from memory.opening import open_writer, require_store
from memory.ownership import give_to_owner
from memory.records import Problem, ProblemKind, Progress
from memory.tables.damage import DamageTable
from memory.upkeep.checking import IntegrityCheck
from memory.upkeep.interrupted_restore import settle_interrupted_restore
from memory.upkeep.mending import rebuild_indexes, recount_kept

_OF_INDEX = re.compile(r"\bindex\b")
_COUNTS = (":kept_trials", ":kept_episodes", ":kept_bytes")


def is_rebuildable(problems: Sequence[Problem]) -> bool:
    """Return whether a rebuilding may be enough for all of some problems: no row or file is needed from elsewhere.

    SQLite also reports pages of a damaged index without its name. If the pages are of a table, :func:`rebuild` fails
    and changes nothing.
    """
    of_database = [problem for problem in problems if problem.kind is ProblemKind.DATABASE]
    others = [problem for problem in problems if problem.kind is not ProblemKind.DATABASE]
    names_index = any(_OF_INDEX.search(problem.found) for problem in of_database)
    are_counts = all(problem.kind is ProblemKind.TOTALS and problem.key.endswith(_COUNTS) for problem in others)
    return bool(problems) and are_counts and (names_index or not of_database)


def rebuild(folder: DataFolder, *, progress: Progress | None = None) -> tuple[str, ...]:
    """Rebuild indexes and counts of a store where they are damaged. No row is removed, and no other process may use it.

    Args:
        folder: the data folder.
        progress: called with the kind of items being checked and the number checked so far.

    Returns:
        Descriptions of what was done, one sentence each.

    Raises:
        FolderInUseError: learnd runs on the folder.
        StoreMissingError: there is no store.
        CorruptFileError: the rows are damaged too; nothing was changed.
        MemoryStoreError: the store cannot be opened.
    """
    require_store(folder)
    try:
        with folder.hold("control"), folder.hold("learner"):
            settle_interrupted_restore(folder)
            return _rebuilt(folder, progress)
    finally:
        give_to_owner(folder.path)


def _rebuilt(folder: DataFolder, progress: Progress | None) -> tuple[str, ...]:
    """Rebuild, check the store again and record the remaining problems; the caller holds the folder."""
    actions = []
    connection = open_writer(folder, must_exist=True)
    try:
        check = IntegrityCheck(connection, folder, ParameterFolder(folder.parameters_path))
        if any(problem.kind is ProblemKind.DATABASE for problem in check.check(progress=progress)):
            rebuild_indexes(connection)
            actions.append("rebuilt every index of the database")
        if recount_kept(connection):
            actions.append("corrected the families' counts of kept trials and episodes")
        DamageTable(connection).replace(check.check(progress=progress))
    finally:
        connection.close()
    return tuple(actions)
