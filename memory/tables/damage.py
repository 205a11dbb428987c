"""Known damage: recorded by backups and by the trainer, shown by health and metrics until it is repaired."""

from __future__ import annotations

from collections.abc import Iterable

from memory.connection import StoreConnection
from memory.records import LEARNER_KINDS, Problem, ProblemKind


class DamageTable:
    """The known damage of a store."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection

    def all(self) -> list[Problem]:
        """Return the known problems in the order in which they were recorded."""
        found = self._connection.rows("SELECT kind, key, subject, found, hint FROM damage ORDER BY id")
        return [
            Problem(
                kind=ProblemKind(row["kind"]),
                key=row["key"],
                subject=row["subject"],
                found=row["found"],
                hint=row["hint"],
            )
            for row in found
        ]

    def note(self, problem: Problem) -> bool:
        """Record a problem; return whether it is new."""
        with self._connection.transaction("recording damage"):
            return self._insert(problem)

    def _insert(self, problem: Problem) -> bool:
        return bool(
            self._connection.execute(
                "INSERT INTO damage (kind, key, subject, found, hint, noted_at) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (problem.kind, problem.key, problem.subject, problem.found, problem.hint, self._connection.clock()),
            )
        )

    def replace(self, problems: Iterable[Problem], *, with_learner_kinds: bool = False) -> None:
        """Replace the known problems by those that a check of the whole store found.

        Args:
            problems: the problems that the check found.
            with_learner_kinds: also remove the problems that the trainer reported.
        """
        kept = frozenset() if with_learner_kinds else LEARNER_KINDS
        wanted = list(problems)
        if not wanted and all(problem.kind in kept for problem in self.all()):
            return
        with self._connection.transaction("recording damage"):
            for kind in ProblemKind:
                if kind not in kept:
                    self._connection.execute("DELETE FROM damage WHERE kind = ?", (kind,))
            for problem in wanted:
                self._insert(problem)
