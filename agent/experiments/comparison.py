"""Several learners on one family, each with the same budget, one after another or in processes of one thread each."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any

import torch

from agent.errors import AgentError
from agent.experiments.assignment import OpenFamily, assign, open_family
from agent.experiments.run import LearningRun, Plan, Progress, UsageTotals
from envs.errors import EnvsError
from envs.family import FamilySpec
from envs.limits import WorkerLimits

POLL_S = 0.1
TELL_EVERY_S = 0.1
"""Reports of another process are thinned to one in so many seconds."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One learner with one seed.

    Attributes:
        learner: its name.
        seed: of the initial parameters and of the training tasks.
    """

    learner: str
    seed: int

    @property
    def label(self) -> str:
        """What people read."""
        return f"{self.learner}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of an entry.

    Attributes:
        entry: which.
        updates: outer steps taken.
        ledger: what it spent and found; None where it failed.
        error: why it failed, in the words of the error.
    """

    entry: Entry
    updates: int = 0
    ledger: UsageTotals | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared, and how.

    Attributes:
        spec: the family.
        limits: bounds of its worker, where it has one.
        plan: budget and scores of each entry; its state is a folder with a file for each, or None.
        entries: learners and seeds, in order.
    """

    spec: FamilySpec
    limits: WorkerLimits
    plan: Plan
    entries: tuple[Entry, ...]

    def plan_of(self, entry: Entry) -> Plan:
        """The plan of one entry."""
        folder = self.plan.state
        state = None if folder is None else folder / f"{entry.learner}-seed{entry.seed}.safetensors"
        return replace(self.plan, state=state)


Report = Callable[[Entry, Progress], None]


def compare(
    comparison: Comparison, family: OpenFamily, *, jobs: int, report: Report, is_stopped: Callable[[], bool]
) -> list[Outcome]:
    """Run every entry; one that fails does not stop the others.

    Args:
        comparison: what is compared.
        family: its family, open.
        jobs: processes side by side; with 1 all is done in this one.
        report: told how far each entry is, from this thread.
        is_stopped: asked often; a comparison that is stopped returns the entries as they stand.

    Returns:
        An outcome for each entry, in order.
    """
    if comparison.plan.state is not None:
        comparison.plan.state.mkdir(parents=True, exist_ok=True)
    if jobs > 1 and len(comparison.entries) > 1:
        return _side_by_side(comparison, jobs=jobs, report=report, is_stopped=is_stopped)
    outcomes = []
    for entry in comparison.entries:
        if is_stopped():
            break
        outcomes.append(_carried_out(comparison, entry, family, report=report, is_stopped=is_stopped))
    return outcomes


def _carried_out(
    comparison: Comparison, entry: Entry, family: OpenFamily, *, report: Report, is_stopped: Callable[[], bool]
) -> Outcome:
    run: LearningRun | None = None
    try:
        assignment = assign(entry.learner, family, seed=entry.seed)
        plan = comparison.plan_of(entry)
        run = LearningRun(assignment, plan, report=lambda state: report(entry, state), is_stopped=is_stopped)
        run.finish()
        return Outcome(entry=entry, updates=run.trainee.num_updates, ledger=run.ledger)
    except (AgentError, EnvsError) as error:
        return Outcome(entry=entry, error=str(error))
    finally:
        if run is not None:
            run.trainee.close()


# Side by side


@dataclass(frozen=True)
class _Wires:
    """What a process is told and asked by."""

    reports: Queue[tuple[Entry, Progress]]
    stop: Event


_WIRES: list[_Wires] = []
"""This process's own; set once, when a process of the pool begins."""


def _side_by_side(
    comparison: Comparison, *, jobs: int, report: Report, is_stopped: Callable[[], bool]
) -> list[Outcome]:
    context = get_context("spawn")
    reports: Queue[tuple[Entry, Progress]] = context.Queue()
    wires = _Wires(reports, context.Event())
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin_process, initargs=(wires,)) as pool:
        futures = [pool.submit(_in_process, comparison, entry) for entry in comparison.entries]
        try:
            _follow(futures, wires, report=report, is_stopped=is_stopped)
        finally:
            wires.stop.set()
            for future in futures:
                future.cancel()
    pairs = zip(comparison.entries, futures, strict=True)
    return [_outcome_of(entry, future) for entry, future in pairs if not future.cancelled()]


def _outcome_of(entry: Entry, future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return Outcome(entry=entry, error="its process, or one beside it, was killed: there may be too little memory.")


def _follow(futures: Sequence[Future[Any]], wires: _Wires, *, report: Report, is_stopped: Callable[[], bool]) -> None:
    """Pass on what the processes report until all entries are done, or until the comparison is stopped."""
    while True:
        done = not wait(futures, timeout=POLL_S).not_done
        while not wires.reports.empty():
            report(*wires.reports.get())
        if done or is_stopped():
            return


def _begin_process(wires: _Wires) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for number in (signal.SIGINT, signal.SIGHUP):  # the process that began this one says when to stop
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    _WIRES[:] = [wires]


def _end_with_parent() -> None:
    """End this process when the one that began it is gone, however it went: nobody would be told what is learned."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _in_process(comparison: Comparison, entry: Entry) -> Outcome:
    wires, told_at = _WIRES[0], 0.0

    def report(told: Entry, state: Progress) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= TELL_EVERY_S:
            told_at = time.monotonic()
            wires.reports.put((told, state))

    family = open_family(comparison.spec, limits=comparison.limits)
    return _carried_out(comparison, entry, family, report=report, is_stopped=wires.stop.is_set)
