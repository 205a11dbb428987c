"""Comparing several learners on one family with equal budgets, one after another or in processes of one thread each."""

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
"""Minimum time between two progress reports of a process."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A learner with a seed.

    Attributes:
        learner: the learner's name.
        seed: seed of the initial parameters and of the training tasks.
    """

    learner: str
    seed: int

    @property
    def label(self) -> str:
        """The entry's name in the output."""
        return f"{self.learner}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of an entry's run.

    Attributes:
        entry: the entry.
        updates: outer steps taken.
        ledger: cost and scores of the run; None if it failed.
        error: the text of the error if the run failed.
    """

    entry: Entry
    updates: int = 0
    ledger: UsageTotals | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison: the family, the entries and their plan.

    Attributes:
        spec: the family.
        limits: limits of the family's worker, if it has one.
        plan: budget and scores of each entry. Its ``state`` is a folder with one file per entry, or None.
        entries: learners and seeds, in order.
    """

    spec: FamilySpec
    limits: WorkerLimits
    plan: Plan
    entries: tuple[Entry, ...]

    def plan_of(self, entry: Entry) -> Plan:
        """Return the plan of one entry."""
        folder = self.plan.state
        state = None if folder is None else folder / f"{entry.learner}-seed{entry.seed}.safetensors"
        return replace(self.plan, state=state)


Report = Callable[[Entry, Progress], None]


def compare(
    comparison: Comparison, family: OpenFamily, *, jobs: int, report: Report, is_stopped: Callable[[], bool]
) -> list[Outcome]:
    """Run every entry. An entry that fails does not stop the others.

    Args:
        comparison: family, entries and plan.
        family: the open family of the comparison.
        jobs: number of parallel processes; with 1 all entries run in this process.
        report: called with the progress of each entry, from this thread.
        is_stopped: called often; it returns whether the comparison must stop. A stopped comparison returns the outcomes
            so far.

    Returns:
        An outcome for each entry that was begun, in order.
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


# In parallel processes


@dataclass(frozen=True)
class _Wires:
    """The connections of a process of the pool: a queue for its reports, and the event that stops it."""

    reports: Queue[tuple[Entry, Progress]]
    stop: Event


_WIRES: list[_Wires] = []
"""The connections of this process. They are set once, when a process of the pool begins."""


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
        return Outcome(
            entry=entry, error="its process, or another one of the pool, was killed: there may be too little memory."
        )


def _follow(futures: Sequence[Future[Any]], wires: _Wires, *, report: Report, is_stopped: Callable[[], bool]) -> None:
    """Forward the reports of the processes until all entries are done or the comparison is stopped."""
    while True:
        done = not wait(futures, timeout=POLL_S).not_done
        while not wires.reports.empty():
            report(*wires.reports.get())
        if done or is_stopped():
            return


def _begin_process(wires: _Wires) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for number in (signal.SIGINT, signal.SIGHUP):  # The parent process decides when to stop.
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    _WIRES[:] = [wires]


def _end_with_parent() -> None:
    """Exit when the parent process has exited or was killed, because no process would receive the results."""
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
