"""The request that asks for a run of a job: people write it as a row, control reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memory.records import JobKind

if TYPE_CHECKING:
    from memory.records import Request

RUN_JOB = "run_job"
"""The request's kind."""

FOR_ONE_FAMILY = frozenset({JobKind.ADMIT, JobKind.PRACTISE})
MAY_BE_FOR_ONE_FAMILY = FOR_ONE_FAMILY | {JobKind.EVALUATE}


def payload_of(kind: JobKind, family: str | None) -> dict[str, Any]:
    """The payload that asks for a job, of a family or of all."""
    return {"job": kind.value, "family": family}


def requested_job(request: Request) -> tuple[JobKind, str | None]:
    """The job that a request asks for, and the family.

    Raises:
        KeyError, ValueError, TypeError, AttributeError: it asks for nothing that can be done.
    """
    if request.kind != RUN_JOB:
        raise ValueError(f"the kind {request.kind!r} is not known")
    kind, family = JobKind(request.payload["job"]), request.payload.get("family")
    if kind in FOR_ONE_FAMILY and not isinstance(family, str):
        raise ValueError(f"{kind} needs a family")
    return kind, family
