"""Measurements of reference returns: which families get one, and the request that starts one.

The daemon sends the request as one line of JSON to the process ``agent.reference``, which answers with the messages
``Progress`` and ``Finished`` of :mod:`agent.messages`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from envs.family import FamilySource
from envs.reference import MeasuredReference, ReferenceRule
from memory.records import FailureStreak, Family, FamilyState, UnreadableSpec

RELIABLE_ERRORS = 2.0
"""Standard errors by which a measured return must exceed the return of random actions to become a reference."""

FIRST_WAIT_S = 60.0
MAX_WAIT_S = 6 * 3600.0


@dataclass(frozen=True, kw_only=True)
class ReferenceRequest:
    """A request for a measurement.

    Attributes:
        run_id: id of the run's row in the store.
        spec: ``FamilySpec.to_json()``.
        spaces: ``SpacePair.to_json()``.
        steps: environment steps of training.
        checkpoint: path of the file that keeps the state of training.
    """

    run_id: int
    spec: dict[str, Any]
    spaces: dict[str, Any]
    steps: int
    checkpoint: str

    def to_line(self) -> bytes:
        """Return the request as a line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> ReferenceRequest:
        """Return the request of a line that :meth:`to_line` wrote."""
        return cls(**json.loads(line))


def unmeasurable(source: FamilySource) -> str:
    """Return why the references of families of a source are not measured; empty if they are."""
    match source:
        case FamilySource.GYMNASIUM:
            return ""
        case FamilySource.TENSOR:
            return "its tasks are tensors in the trainer, not environments that PPO can step"
        case FamilySource.FEW_SHOT:
            return "its tasks are not environments, and its scale is fixed: 0 is chance, 1 is a perfect answer"


def obstacle(family: Family) -> str:
    """Return why a family's reference cannot be measured now; empty if it can."""
    if family.reference_return is not None:
        return f"it has the reference {family.reference_return:g}, which never changes"
    if family.state is not FamilyState.ACTIVE or family.spaces is None:
        return f"it is {family.state}"
    if isinstance(family.spec, UnreadableSpec):
        return family.spec.reason
    return unmeasurable(family.spec.source)


def is_to_be_measured(family: Family) -> bool:
    """Return whether a family's reference is to be measured, now or once the family is active."""
    spec = family.spec
    return (
        family.reference_return is None
        and not isinstance(spec, UnreadableSpec)
        and spec.reference_steps > 0
        and spec.reference_rule is not ReferenceRule.NONE
        and spec.measured_reference is None
    )


def retry_at(failures: FailureStreak) -> float:
    """Return the time of the next attempt in seconds since the epoch: a minute later, doubled with each failure."""
    return failures.ended_at + min(MAX_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures.count - 1, 16))


def is_waiting(failures: FailureStreak, now: float) -> bool:
    """Return whether the next attempt is later than ``now``, and not so late that the clock must have been wrong."""
    return now < retry_at(failures) <= now + MAX_WAIT_S


def reference_of(measured: MeasuredReference, *, random_return: float) -> float | None:
    """Return the reference that a measurement gives; None if its return is not reliably above that of random actions.

    A reference within the noise of the random return would make every score arbitrary.
    """
    gain = measured.mean_return - random_return
    return measured.mean_return if gain > RELIABLE_ERRORS * measured.standard_error else None
