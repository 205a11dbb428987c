"""What a worker may use before its family is struck."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WorkerLimits:
    """The bounds of one environment worker.

    Attributes:
        memory_mib: resident memory of the worker and all processes that it started; above it the worker is killed.
        step_timeout_s: longest wait for one step or one reset of one copy of the environment.
        start_timeout_s: longest wait for the interpreter to start, import and make the first copy, and for making each
            further copy.
        close_timeout_s: time in which the worker closes all copies, after a fault too; then it is killed.
        nice: added to the niceness that the worker inherits from the process that starts it.
        watch_interval_s: time between two measurements of resident memory, and between two looks at the progress.
    """

    memory_mib: int = 2048
    step_timeout_s: float = 10.0
    start_timeout_s: float = 60.0
    close_timeout_s: float = 3.0
    nice: int = 5
    watch_interval_s: float = 0.5
