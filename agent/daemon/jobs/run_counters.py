"""The counters that a run of a job adds to, besides that of its outcome."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from agent.daemon.jobs.runs import Lane, RunResult, lane_of
from agent.daemon.metrics.snapshot_samples import (
    CONSOLIDATION_OUTCOMES,
    CONSOLIDATIONS,
    JOB_ERRORS,
    PHASE_SECONDS,
    PHASES,
    PRACTICE_SECONDS,
)
from agent.daemon.scheduling.next_job import Work
from agent.messages import PHASE_SECONDS_DETAIL
from memory.records import CounterValue, JobKind, JobOutcome

PHASE_OF_JOB = {JobKind.EVALUATE: "evaluation", JobKind.CONSOLIDATE: "consolidation"}


def run_counters(work: Work, result: RunResult, *, took_s: float) -> Iterator[CounterValue]:
    """Yield what counters grow by when a run has ended.

    Args:
        work: the job.
        result: its result.
        took_s: seconds that it took.
    """
    if work.kind is JobKind.CONSOLIDATE and result.detail.get("outcome") in CONSOLIDATION_OUTCOMES:
        yield CounterValue(CONSOLIDATIONS, {"outcome": result.detail["outcome"]}, 1.0)
    if result.outcome is JobOutcome.FAILED and lane_of(work.kind) is not Lane.REFERENCE and not result.is_family_fault:
        yield CounterValue(JOB_ERRORS, {"job": str(work.kind)}, 1.0)
    if work.kind is JobKind.PRACTISE and work.family is not None:
        yield CounterValue(PRACTICE_SECONDS, {"family": work.family}, max(0.0, took_s))
    if (phase := PHASE_OF_JOB.get(work.kind)) is not None:
        yield CounterValue(PHASE_SECONDS, {"phase": phase}, max(0.0, took_s))
    for phase, seconds in result.detail.get(PHASE_SECONDS_DETAIL, {}).items():
        if phase in PHASES and isfinite(seconds):
            yield CounterValue(PHASE_SECONDS, {"phase": phase}, max(0.0, seconds))
