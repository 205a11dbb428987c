"""Small repairs of a database, each in one transaction. Backups of damaged stores and ``repair`` use them."""

from __future__ import annotations

from collections.abc import Iterable

from memory.connection import StoreConnection
from memory.records import Problem, ProblemKind

_OF_TRIALS = ("context_keys", "imported_trials")
"""Tables whose rows belong to a trial, besides its episodes."""


def damaged_trials(problems: Iterable[Problem]) -> list[int]:
    """Return the ids of the trials that problems concern, sorted and without duplicates."""
    return sorted({int(problem.key) for problem in problems if problem.kind is ProblemKind.TRIAL})


def drop_trials(connection: StoreConnection, trial_ids: Iterable[int]) -> int:
    """Delete trials with their episodes and keys, and those without a trial, and correct the families' counts.

    The slots of rehearsal reservoirs that the trials had are deleted with them.

    Returns:
        The number of deleted episodes.
    """
    episodes = 0
    with connection.transaction("dropping damaged trials"):
        for trial_id in trial_ids:
            episodes += connection.execute("DELETE FROM episodes WHERE trial_id = ?", (trial_id,))
            for table in _OF_TRIALS:
                connection.execute(f"DELETE FROM {table} WHERE trial_id = ?", (trial_id,))  # noqa: S608
            connection.execute("DELETE FROM trials WHERE id = ?", (trial_id,))
        episodes += connection.execute("DELETE FROM episodes WHERE trial_id NOT IN (SELECT id FROM trials)")
        for table in _OF_TRIALS:
            connection.execute(f"DELETE FROM {table} WHERE trial_id NOT IN (SELECT id FROM trials)")  # noqa: S608
        recount_kept(connection)
    return episodes


def recount_kept(connection: StoreConnection) -> int:
    """Set the families' counts of kept trials, episodes and bytes to the counts of the rows.

    Returns:
        The number of families whose counts were wrong.
    """
    with connection.transaction("counting what is kept"):
        return connection.execute(
            "UPDATE families SET kept_trials = counted.trials, kept_episodes = counted.episodes,"
            " kept_bytes = counted.bytes FROM ("
            "  SELECT families.id AS family_id,"
            "   (SELECT count(*) FROM trials WHERE trials.family_id = families.id) AS trials,"
            "   (SELECT count(*) FROM episodes JOIN trials ON trials.id = episodes.trial_id"
            "    WHERE trials.family_id = families.id) AS episodes,"
            "   (SELECT coalesce(sum(size_bytes), 0) FROM trials WHERE trials.family_id = families.id) AS bytes"
            "  FROM families) AS counted"
            " WHERE counted.family_id = families.id AND (kept_trials, kept_episodes, kept_bytes)"
            " IS NOT (counted.trials, counted.episodes, counted.bytes)"
        )


def rebuild_indexes(connection: StoreConnection) -> None:
    """Rebuild every index from the rows."""
    with connection.transaction("rebuilding the indexes"):
        connection.execute("REINDEX")
