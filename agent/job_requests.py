"""The request for a run of a job: the command line writes it as a row of the store, and the daemon reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memory.records import JobKind

if TYPE_CHECKING:
    from memory.records import Request

RUN_JOB = "run_job"
"""Kind of the request."""

FOR_ONE_FAMILY = frozenset({JobKind.ADMIT, JobKind.PRACTISE, JobKind.REFERENCE})
MAY_BE_FOR_ONE_FAMILY = FOR_ONE_FAMILY | {JobKind.EVALUATE}


def payload_of(kind: JobKind, family: str | None) -> dict[str, Any]:
    """Return the payload of a request for a job, for a family or, with None, for all families."""
    return {"job": kind.value, "family": family}


def requested_job(request: Request) -> tuple[JobKind, str | None]:
    """Return the kind of the requested job and the family; None for all families.

    Raises:
        KeyError, ValueError, TypeError, AttributeError: the request is invalid.
    """
    if request.kind != RUN_JOB:
        raise ValueError(f"unknown kind of request {request.kind!r}")
    kind, family = JobKind(request.payload["job"]), request.payload.get("family")
    if kind in FOR_ONE_FAMILY and not isinstance(family, str):
        raise ValueError(f"{kind} needs a family")
    return kind, family
