"""The limits of a worker; a worker that exceeds one of them causes a strike of its family."""

from __future__ import annotations

from dataclasses import dataclass

from envs.pace import UNKNOWN_PACE, Pace


@dataclass(frozen=True, kw_only=True)
class WorkerLimits:
    """The limits of one environment worker. The defaults are those of the settings in the section ``workers``.

    Attributes:
        memory_mib: resident memory of the worker and all processes that it started; a worker that exceeds it is killed.
        step_timeout_s: longest wait for one step or one reset of one copy of an environment whose usual speed is not
            known; :mod:`envs.pace` adapts it to the speed.
        shortest_limit_s: shortest limit of a step or reset of an environment that is known to be quick. It is seconds
            long, because a busy machine can delay any step.
        start_timeout_s: longest wait for the interpreter to start, import and make the first copy, and for making each
            further copy.
        close_timeout_s: time for the worker to close all copies, also after a fault; the worker is killed afterwards.
        nice: increment of the niceness that the worker inherits from the process that starts it.
        watch_interval_s: time between two measurements of resident memory, and between two checks of the progress.
        pace: the usual speed of the environment, as far as earlier workers found it.
    """

    memory_mib: int = 1024
    step_timeout_s: float = 30.0
    shortest_limit_s: float = 5.0
    start_timeout_s: float = 60.0
    close_timeout_s: float = 3.0
    nice: int = 0
    watch_interval_s: float = 0.5
    pace: Pace = UNKNOWN_PACE
