"""What a worker may use before its family is struck."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WorkerLimits:
    """The bounds of one environment worker.

    Attributes:
        memory_mib: resident memory of the worker and its children; above it the worker is killed.
        step_timeout_s: longest wait for one step of all its environments.
        begin_timeout_s: longest wait for making and resetting all its environments.
        start_timeout_s: longest wait for the interpreter to start, import and make the first environment.
        nice: added to the worker's niceness.
        watch_interval_s: time between two looks at the worker's resident memory.
    """

    memory_mib: int = 2048
    step_timeout_s: float = 10.0
    begin_timeout_s: float = 60.0
    start_timeout_s: float = 60.0
    nice: int = 5
    watch_interval_s: float = 0.5
