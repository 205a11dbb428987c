"""The protocol of practice: what the trainer's jobs need of a kind of family.

The jobs (``agent.trainer.jobs``) know no kind. They choose a practice by the family's kind from the registry
(``agent.trainer.practice.registry``) and call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from agent.learners.evaluation.trials import HeldOutReturns
from agent.policies.version_header import VersionHeader
from agent.trainer.gate import Part
from memory.records import CurvePoint, Family, Initialization


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The result of one evaluation of a family.

    Attributes:
        returns: returns on the held-out tasks.
        more_points: further points for the family's curves, besides those that follow from ``returns``.
    """

    returns: HeldOutReturns
    more_points: tuple[CurvePoint, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PublishedVersion:
    """The version with which candidates are compared.

    Attributes:
        initialization: its record.
        tensors: its parameters; None if its file is damaged.
        played: by family, the returns of its RL² policy on the gate's tasks; empty until they are first asked for.
    """

    initialization: Initialization
    tensors: dict[str, Tensor] | None
    played: dict[str, HeldOutReturns] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """The proposals of one kind of family for the next version.

    Attributes:
        parts: the alternatives, scored; at least one. Every candidate has exactly one of them.
        unchanged: the published parameters, scored on the same tasks. They are used if all candidates fall while
            another kind has something new. None if they cannot be used, or are among ``parts`` where they are best.
    """

    parts: tuple[Part, ...]
    unchanged: Part | None = None


class Practice(Protocol):
    """The way in which the families of one kind are practised, evaluated and published.

    A practice works with the learners of the last restored commit. The session makes another one when it restores.
    """

    @property
    def carries_over(self) -> bool:
        """Return whether a family of this kind begins with what others have learned.

        Such a family is scored before its first practice.
        """
        ...

    def check(self, family: Family) -> None:
        """Check that the family's stored spaces or shapes can be read.

        Raises:
            Exception: they cannot; the error depends on the damage.
        """
        ...

    def prepare(self, family: Family) -> None:
        """Have played what a slice of practice begins with; change nothing of what was learned.

        Args:
            family: an active family of this kind.

        Raises:
            UnderWayError: a worker still plays; the next call takes the result.
            EnvsError: the family failed.
        """
        ...

    def practise(self, family: Family, *, reason: str) -> dict[str, Any]:
        """Practise an active family for a slice of time, commit the slice and return the job's report.

        If the process is killed before the commit, the slice is lost. After the commit nothing can be lost.

        Args:
            family: an active family of this kind.
            reason: why the family was chosen.

        Raises:
            JobInterruptedError: the daemon has requested a stop before the first update; the slice is discarded.
            EnvsError: the family failed; the slice is discarded.
            DivergedError: an update diverged; the state is that of the last commit.
        """
        ...

    def evaluate(self, family: Family) -> Evaluation:
        """Score what has been practised on the held-out tasks of evaluations; store nothing.

        Raises:
            JobInterruptedError: the daemon has requested a stop.
            EnvsError: the family failed.
        """
        ...

    def propose(
        self, families: Sequence[Family], *, base: PublishedVersion | None, unplayable: Sequence[Family] = ()
    ) -> Proposals:
        """Propose parts for the next version, scored on the gate's held-out tasks; change no learner.

        Args:
            families: the families of this kind that have been practised and can be scored; there may be none.
            base: the published version; None before the first.
            unplayable: the practised families of this kind that cannot be scored; stored trials may judge them.

        Raises:
            UnscoredError: a family failed, and has a strike for it.
            JobInterruptedError: the daemon has requested a stop.
        """
        ...

    def repair(self, families: Sequence[Family], *, base: PublishedVersion | None) -> bool:
        """Bring back what was lost of families, within a bound, and commit it.

        Args:
            families: families of this kind on which a candidate falls.
            base: the published version, from which the candidate fell.

        Returns:
            whether the learner changed.

        Raises:
            JobInterruptedError: the daemon has requested a stop; nothing was changed.
        """
        ...

    def export(self, part: Part, header: VersionHeader) -> VersionHeader:
        """Return the header of a version file with the families that can be used with a part of it.

        Args:
            part: one of the parts that this practice proposed.
            header: the header so far.
        """
        ...
