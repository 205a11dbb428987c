"""Families: their states, totals and rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from envs.errors import FamilySpecError
from envs.family import FamilySpec
from envs.kinds import FamilyKind
from envs.pace import Pace


class FamilyState(StrEnum):
    """A state of a family."""

    PENDING = "pending"
    """Added, but not yet admitted: its environment has not been tried."""

    ACTIVE = "active"
    PAUSED = "paused"
    """Paused by a person."""

    QUARANTINED = "quarantined"
    """Not practised for a while after repeated strikes; tried again at ``quarantined_until``."""

    REFUSED = "refused"
    """Failed admission; ``state_reason`` gives the reason."""

    REMOVED = "removed"


@dataclass(frozen=True, kw_only=True)
class FamilyTotals:
    """The amounts that a family has been practised since it was added."""

    env_steps: int = 0
    episodes: int = 0
    trials: int = 0
    meta_updates: int = 0


@dataclass(frozen=True, kw_only=True)
class UnreadableSpec:
    """A stored spec that cannot be read: its row is damaged, or another version of learnd wrote it.

    Attributes:
        reason: the reason, as text for people.
        hint: the action to take, as a full sentence.
        values: the stored JSON object, to be shown; empty if the row is damaged.
    """

    reason: str
    hint: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the stored JSON object."""
        return dict(self.values)


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family, as recorded in the store.

    Attributes:
        name: unique among families that are not removed.
        state: its state.
        state_reason: the reason for the state, as text for people.
        spec: its description. A family with an unreadable spec has the state refused (unless it is removed), with the
            reason, and no spaces.
        spaces: ``SpacePair.to_json()``, or ``FewShotShapes.to_json()`` of few-shot tasks; None until admitted.
        random_return: measured or declared mean trial return of random actions; None until admitted.
        reference_return: trial return of score 1, which never changes once it is declared, registered or measured; None
            for a family without a scale.
        strikes: consecutive faults of its workers since the last success.
        quarantined_until: time at which it is tried again; None unless quarantined.
        totals: the amounts that it has been practised.
        created_at: time at which it was added.
        pace: the usual speed of its environment, as its workers found it; None if it is not known.
        is_damaged: whether its row does not match its checksum. Its spec is then unreadable.
    """

    id: int
    name: str
    state: FamilyState
    state_reason: str
    spec: FamilySpec | UnreadableSpec
    spaces: dict[str, Any] | None
    random_return: float | None
    reference_return: float | None
    strikes: int
    quarantined_until: float | None
    totals: FamilyTotals
    created_at: float
    pace: Pace | None = None
    is_damaged: bool = False

    @property
    def has_scale(self) -> bool:
        """Return whether its returns have scores: its reference is known and above the return of random actions."""
        return self.reference_return is not None and self.reference_return > (self.random_return or 0.0)

    @property
    def kind(self) -> FamilyKind:
        """Return the kind of its tasks. Never raise, because every job asks it of every family.

        A family whose spec cannot be read counts as environments; it raises where its spec is required.
        """
        return FamilyKind.ENVIRONMENTS if isinstance(self.spec, UnreadableSpec) else self.spec.source.kind

    def require_spec(self) -> FamilySpec:
        """Return the spec.

        Raises:
            FamilySpecError: the spec is unreadable.
        """
        if isinstance(self.spec, UnreadableSpec):
            raise FamilySpecError(
                operation="reading family", subject=self.name, found=f"{self.spec.reason}.", hint=self.spec.hint
            )
        return self.spec


@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """A quarantine of a family.

    Attributes:
        family: name of the family.
        began_at: its begin.
        until: its end; in the future if it lasts.
        reason: the reason, as text for people.
    """

    family: str
    began_at: float
    until: float
    reason: str
