"""The limits of a worker; a worker that exceeds one of them causes a strike of its family."""

from __future__ import annotations

from dataclasses import dataclass

from envs.pace import UNKNOWN_PACE, Pace

THREADS_PER_PROCESS = 8
"""How many threads a process of a worker may have, on average."""


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
        max_processes: processes that the worker and its descendants may be; a worker with more is killed. The kernel
            refuses more than ``THREADS_PER_PROCESS`` times as many processes and threads where it can.
        disk_mib: size of all files in the worker's own folder, and of one file anywhere; a worker above it is killed.
        num_processes: workers in which a family runs that has more trials than one process can hold copies.
        num_cores: cores that the worker and its descendants may keep busy; 0 for half of the cores, at least one.
        is_isolated: whether namespaces and Landlock keep the worker from files and from the network.
        writable: folders that an isolated worker may change, besides its own.
        hidden: folders that an isolated worker can neither read nor write, except for its own code there.
    """

    memory_mib: int = 1024
    step_timeout_s: float = 30.0
    shortest_limit_s: float = 5.0
    start_timeout_s: float = 60.0
    close_timeout_s: float = 3.0
    nice: int = 0
    watch_interval_s: float = 0.5
    pace: Pace = UNKNOWN_PACE
    max_processes: int = 512
    disk_mib: int = 1024
    num_processes: int = 8
    num_cores: int = 0
    is_isolated: bool = True
    writable: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
