"""Shared parts of `learnd learn` and `learnd compare`: options, progress, and a safe stop on Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.errors import CommandError
from agent.cli.invocation import Invocation
from agent.experiments.plan_defaults import TASKS_ALONG
from agent.output.files import check_output_file, is_device

if TYPE_CHECKING:
    from agent.experiments.assignment import OpenFamily
    from agent.experiments.run import Plan, Progress
    from envs.family import FamilySpec

NOTE_EVERY_S = 60.0

LARGEST_SEED = 2**24 - 1
"""A seed has 2⁴⁰ numbered training tasks (``agent.experiments.trainable``). This limit keeps the numbers below 2⁶⁴."""

BudgetOption = Annotated[
    str, typer.Option(metavar="TIME|UPDATES", help="Processor time of learning (60s, 5m), or updates (500u).")
]
SeedOption = Annotated[
    int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the initial parameters and the training tasks.")
]
TasksOption = Annotated[int, typer.Option(min=2, help="Number of held-out tasks of the final score.")]
PointsOption = Annotated[
    int, typer.Option(min=0, help="Number of scores during the run, at equal parts of the budget.")
]


def plan_of(budget: str, *, points: int, tasks: int, state: Path | None) -> Plan:
    """Return the plan of a run.

    Raises:
        BudgetError: the budget is not valid.
    """
    from agent.experiments.budget import parse_budget
    from agent.experiments.run import Plan

    along = min(tasks, TASKS_ALONG)
    return Plan(budget=parse_budget(budget), num_points=points, tasks_along=along, tasks_at_end=tasks, state=state)


def open_for(invocation: Invocation, spec: FamilySpec) -> OpenFamily:
    """Open a family. While images are read, show their number.

    Raises:
        EnvsError: the family cannot be opened.
    """
    from agent.experiments.assignment import open_family

    with invocation.progress() as progress:
        bar = progress.add_task(f"opening {spec.name}", total=None)

        def report(num_images: int) -> None:
            progress.update(bar, description=f"opening {spec.name}: {num_images} images")

        return open_family(spec, limits=invocation.settings.worker_limits(), report=report)


def check_folder(file: Path | None, *, operation: str) -> None:
    """Check, before anything is learned, that an output file can be written in its folder.

    Raises:
        CommandError: the folder does not exist or cannot be written to.
        OutputFileError: the file is a folder, a link, or something else that learnd does not write to.
    """
    if file is None:
        return
    check_output_file(file, operation=operation)
    if is_device(file):
        return
    if not file.absolute().parent.is_dir():
        raise CommandError(
            operation=operation, subject=str(file), found="its folder does not exist.", hint="Create the folder first."
        )
    try:
        with TemporaryFile(dir=file.absolute().parent):
            pass
    except OSError as error:
        raise CommandError(
            operation=operation,
            subject=str(file),
            found=f"its folder cannot be written to: {error.strerror}.",
            hint="Name a file in another folder.",
        ) from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread inside the block, so that processor time has the same meaning on every machine."""
    from agent.devices import with_threads

    with with_threads(1):
        yield


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether a signal (Ctrl-C, SIGTERM, a closed terminal) requested a stop.

    After the first signal, the current update is finished. A second signal has its usual effect at once.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) for number in _stop_signals()}

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        asked.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def cleaning_up() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP (a closed terminal) into ``SystemExit`` inside the block, so that its clean-up runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in _stop_signals() if number != signal.SIGINT]
    before = {number: signal.signal(number, lambda number, _: sys.exit(128 + number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_signals() -> list[signal.Signals]:
    """Return the signals that request a stop. SIGINT and SIGHUP are left out if the process ignores them."""
    may_be_ignored = (signal.SIGINT, signal.SIGHUP)
    return [signal.SIGTERM, *(n for n in may_be_ignored if signal.getsignal(n) is not signal.SIG_IGN)]


@contextmanager
def bars(invocation: Invocation, labels: Sequence[str]) -> Iterator[Callable[[str, Progress], None]]:
    """Show a progress bar per label on a terminal; elsewhere print a line per label and minute."""
    width = max(map(len, labels))
    with invocation.progress() as progress:
        tasks = {label: progress.add_task(label.ljust(width), total=1.0) for label in labels}
        noted = dict.fromkeys(labels, time.monotonic())

        def tell(label: str, state: Progress) -> None:
            watched = "" if state.watched is None else f", {state.watched[0]} {state.watched[1]:.3f}"
            text = f"{state.doing}, update {state.updates}, {state.cpu_s:.0f} CPU-s{watched}"
            progress.update(tasks[label], completed=state.fraction, description=f"{label.ljust(width)} {text}")
            if time.monotonic() - noted[label] >= NOTE_EVERY_S and not sys.stderr.isatty():
                noted[label] = time.monotonic()
                invocation.note(f"{label}: {text}")

        yield tell
