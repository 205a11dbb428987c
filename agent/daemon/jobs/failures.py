"""Failures in a row of each kind of job."""

from __future__ import annotations

from collections.abc import Mapping

from agent.daemon.jobs.runs import RunResult
from agent.output.error_text import short_error
from memory.records import JobKind, JobOutcome


class Failures:
    """A counter of failures in a row for each kind of job; a success resets it to 0.

    A failure because of a family is not counted: it is a strike of that family, or is reported with its reference.
    """

    def __init__(self) -> None:
        self._counts: dict[JobKind, tuple[int, str]] = {}

    def note(self, kind: JobKind, result: RunResult) -> None:
        """Record the result of a run. Skipped runs and failures because of a family change nothing."""
        if kind is JobKind.REFERENCE or result.is_family_fault:
            return
        if result.outcome is JobOutcome.SUCCEEDED:
            self._counts.pop(kind, None)
        elif result.outcome is JobOutcome.FAILED:
            self._counts[kind] = (self._counts.get(kind, (0, ""))[0] + 1, short_error(result.error))

    def counts(self) -> Mapping[JobKind, tuple[int, str]]:
        """Return the number of failures in a row and the newest error of each kind that fails."""
        return dict(self._counts)
