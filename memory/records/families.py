"""Families: their states, totals and rows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


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
class Family:
    """A family, as recorded in the store.

    Attributes:
        name: unique among families that are not removed.
        state: its state.
        state_reason: the reason for the state, as text for people.
        spec: ``FamilySpec.to_json()``.
        spaces: ``SpacePair.to_json()``; None until admitted.
        random_return: measured or declared mean trial return of random actions; None until admitted.
        reference_return: trial return of score 1, which never moves; None for a family without a scale.
        strikes: consecutive faults of its workers since the last success.
        quarantined_until: time at which it is tried again; None unless quarantined.
        totals: the amounts that it has been practised.
        created_at: time at which it was added.
        is_damaged: whether its row does not match its checksum. Such a family has the state refused and an empty spec.
    """

    id: int
    name: str
    state: FamilyState
    state_reason: str
    spec: dict[str, Any]
    spaces: dict[str, Any] | None
    random_return: float | None
    reference_return: float | None
    strikes: int
    quarantined_until: float | None
    totals: FamilyTotals
    created_at: float
    is_damaged: bool = False

    @property
    def has_scale(self) -> bool:
        """Whether its returns have scores: its reference is known and above the return of random actions."""
        return self.reference_return is not None and self.reference_return > (self.random_return or 0.0)
