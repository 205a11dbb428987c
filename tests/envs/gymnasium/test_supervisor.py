"""Tests of the supervisor: no process remains, environments are closed, and signals have their defaults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from envs.errors import EnvsError, FaultReason, UnsupportedSpaceError, WorkerFaultError
from envs.family import FamilySpec, Split
from envs.gymnasium.batch import WorkerTaskBatch
from envs.gymnasium.variations import Distribution, Variation, VariationTarget
from tests.envs.environments.launching_environments import SHELL_PROGRAMS
from tests.envs.families import LIMITS, all_active, family, opened
from tests.envs.processes_left import await_none_with, await_some_with, new_token, processes_with
from tests.repository import ROOT

QUICK = replace(LIMITS, memory_mib=150, step_timeout_s=1.0, watch_interval_s=0.1)
FAILURES = {
    "raise": FaultReason.RAISED,
    "sys.exit": FaultReason.EXITED,
    "os._exit": FaultReason.EXITED,
    "segfault": FaultReason.KILLED,
    "hang": FaultReason.HUNG,
    "hang in C": FaultReason.HUNG,
    "leak": FaultReason.OVER_MEMORY,
}
OF_GLIBC = 0b11 << 31
"""Signals 32 and 33, which glibc ignores in every program that it starts by ``posix_spawn``."""

CLOSING_FAILURES = ("raise", "sys.exit", "hang", "leak")
"""Failures after which the worker still runs Python and can close its environments."""


def launching(name: str, **kwargs: Any) -> FamilySpec:
    return family(f"launching_environments:{name}", kwargs=kwargs)


def step(tasks: WorkerTaskBatch, times: int = 1) -> None:
    for _ in range(times):
        tasks.step(torch.zeros(tasks.num_trials, dtype=torch.int64), all_active(tasks.num_trials))


def fault_of(spec: FamilySpec) -> WorkerFaultError:
    context = replace(QUICK, step_timeout_s=20.0)
    tasks = opened(spec, limits=context if spec.kwargs["fails"] == "leak" else QUICK)
    tasks.begin(0, split=Split.TRAINING)
    with pytest.raises(WorkerFaultError) as caught:
        step(tasks, 5)
    return caught.value


def closed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("closed-*"))


@pytest.mark.parametrize("kind", SHELL_PROGRAMS)
def test_no_process_that_an_environment_started_is_left_after_close(kind: str, tmp_path: Path) -> None:
    token = new_token()
    with closing(opened(launching("Launches", kind=kind, token=token, folder=str(tmp_path)))) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        await_some_with(token)
    assert processes_with(token) == []
    assert closed(tmp_path) == ["closed-1", "closed-2"]


@pytest.mark.parametrize("name", ["LaunchesWhileClosing", "LaunchesAtExit"])
def test_what_is_started_at_the_end_is_ended_too(name: str, tmp_path: Path) -> None:
    token = new_token()
    tasks = opened(launching(name, token=token, folder=str(tmp_path)))
    tasks.begin(0, split=Split.TRAINING)
    tasks.close()
    assert processes_with(token) == []
    assert (name != "LaunchesAtExit") or (tmp_path / "left").exists()


@pytest.mark.parametrize("fails", FAILURES)
def test_no_process_is_left_after_a_fault(fails: str, tmp_path: Path) -> None:
    token, before = new_token(), set(psutil.Process().children(recursive=True))
    fault = fault_of(launching("Launches", kind="daemon", token=token, folder=str(tmp_path), fails=fails))
    assert fault.reason is FAILURES[fails]
    assert processes_with(token) == []
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.parametrize("fails", CLOSING_FAILURES)
def test_every_environment_is_closed_after_a_fault(fails: str, tmp_path: Path) -> None:
    fault_of(launching("Recorded", folder=str(tmp_path), fails=fails))
    assert closed(tmp_path) == ["closed-1", "closed-2"]


def test_a_hung_step_says_where_it_was(tmp_path: Path) -> None:
    fault = fault_of(launching("Recorded", folder=str(tmp_path), fails="hang"))
    assert "time.sleep(1000)" in fault.detail


def test_environments_are_closed_when_another_copy_cannot_be_made(tmp_path: Path) -> None:
    tasks = opened(launching("FailsWhileMaking", folder=str(tmp_path)), num_trials=4)
    with pytest.raises(WorkerFaultError, match="no licence for a third"):
        tasks.begin(0, split=Split.TRAINING)
    assert closed(tmp_path) == ["closed-1", "closed-2"]


def test_environments_made_with_a_tasks_own_arguments_are_closed_once_each(tmp_path: Path) -> None:
    vary = Variation(
        name="fails", target=VariationTarget.KWARG, distribution=Distribution.CHOICE, low=0.0, high=0.0, values=("",)
    )
    tasks = opened(replace(launching("Recorded", folder=str(tmp_path)), variations=(vary,)))
    tasks.begin(0, split=Split.TRAINING)
    tasks.begin(2, split=Split.TRAINING)
    tasks.close()
    assert len(closed(tmp_path)) == 5


def test_an_environment_is_closed_when_its_space_is_not_supported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedSpaceError):
        opened(launching("UnsupportedObservation", folder=str(tmp_path)))
    assert closed(tmp_path) == ["closed-1"]


def test_closing_a_worker_that_is_at_work_interrupts_it_and_closes_its_environments(tmp_path: Path) -> None:
    class GivenUpError(Exception):
        pass

    is_stepping = False

    def give_up() -> None:
        if is_stepping:
            raise GivenUpError

    spec = launching("Slow", stepping=1000.0, folder=str(tmp_path))
    tasks = WorkerTaskBatch(spec, num_trials=2, device="cpu", limits=LIMITS, on_wait=give_up)
    tasks.begin(0, split=Split.TRAINING)
    is_stepping = True
    with pytest.raises(GivenUpError):
        step(tasks)
    tasks.close()
    assert closed(tmp_path) == ["closed-1", "closed-2"]


def test_a_worker_killed_from_outside_leaves_no_process(tmp_path: Path) -> None:
    token = new_token()
    tasks = opened(launching("Launches", kind="daemon", token=token, folder=str(tmp_path)))
    tasks.begin(0, split=Split.TRAINING)
    await_some_with(token)
    os.kill(tasks.pid, signal.SIGKILL)
    with pytest.raises(WorkerFaultError, match="SIGKILL"):
        step(tasks)
    assert processes_with(token) == []


# A process that its parent leaves between two looks of the trainer may escape: this is the best effort.
@pytest.mark.parametrize("kind", ["plain", pytest.param("daemon", marks=pytest.mark.slow)])
def test_a_supervisor_killed_from_outside_leaves_no_process(kind: str, tmp_path: Path) -> None:
    token = new_token()
    tasks = opened(launching("Launches", kind=kind, token=token, folder=str(tmp_path)), limits=QUICK)
    tasks.begin(0, split=Split.TRAINING)
    await_some_with(token)
    while not set(processes_with(token)) <= {state.pid for state in tasks._process._watch.seen}:
        tasks._process._watch.excess(0.0)  # It may miss a process whose parent exits meanwhile.
    psutil.Process(tasks.pid).parent().kill()  # type: ignore[union-attr]
    with pytest.raises(WorkerFaultError, match="SIGKILL"):
        step(tasks, 1_000_000)
    assert await_none_with(token) == []


@pytest.mark.parametrize("kind", ["deaf", "daemon"])
def test_no_process_is_left_and_environments_are_closed_when_the_learner_is_killed(kind: str, tmp_path: Path) -> None:
    token = new_token()
    program = (
        "import sys, time\n"
        "from envs.family import Split\n"
        "from tests.envs.families import opened\n"
        "from tests.envs.gymnasium.test_supervisor import launching\n"
        "kind, token, folder = sys.argv[1:]\n"
        "tasks = opened(launching('Launches', kind=kind, token=token, folder=folder))\n"
        "tasks.begin(0, split=Split.TRAINING)\n"
        "print('begun', flush=True)\n"
        "time.sleep(1000)\n"
    )
    arguments = [sys.executable, "-c", program, kind, token, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=ROOT) as learner:
        assert learner.stdout is not None
        assert learner.stdout.readline() == b"begun\n"
        learner.kill()
    assert await_none_with(token) == []
    assert closed(tmp_path) == ["closed-1", "closed-2"]


@pytest.fixture
def odd_signals() -> Iterator[None]:
    """Ignore and block signals in this process, as a service or ``nohup`` does."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGPIPE)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2, signal.SIGALRM})
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("odd_signals")
def test_a_worker_and_what_it_starts_ignore_and_block_no_signal(tmp_path: Path) -> None:
    tasks = opened(launching("TellsItsSignals", folder=str(tmp_path)), num_trials=1)
    tasks.begin(0, split=Split.TRAINING)
    tasks.close()
    for name in ("worker", "system", "popen"):
        lines = dict(line.split(":\t") for line in (tmp_path / name).read_text().splitlines() if line[:3] == "Sig")
        assert int(lines["SigIgn"], 16) & ~OF_GLIBC == 0, name
        assert int(lines["SigBlk"], 16) == 0, name
        assert not int(lines["SigCgt"], 16) & 1 << (signal.SIGTERM - 1), name


@pytest.mark.usefixtures("odd_signals")
def test_a_simulator_that_is_terminated_ends(tmp_path: Path) -> None:
    tasks = opened(launching("Terminating", folder=str(tmp_path)), limits=QUICK)
    tasks.begin(0, split=Split.TRAINING)
    tasks.close()


def test_writing_into_a_broken_pipe_raises_as_in_any_python_program(tmp_path: Path) -> None:
    fault = fault_of(launching("Recorded", folder=str(tmp_path), fails="broken pipe"))
    assert fault.reason is FaultReason.RAISED
    assert "BrokenPipeError" in fault.found


def test_multiprocessing_works_in_a_worker(tmp_path: Path) -> None:
    tasks = opened(launching("UsesMultiprocessing", folder=str(tmp_path)), num_trials=1)
    tasks.begin(0, split=Split.TRAINING)
    tasks.close()
    assert closed(tmp_path) == ["closed-1"]


def test_the_memory_of_a_process_that_left_its_parent_counts(tmp_path: Path) -> None:
    program = "import time; kept = b'x' * (400 << 20); time.sleep(1000)"
    command = f'setsid env -i {sys.executable} -S -c "{program}" & exit'
    tasks = opened(launching("RunsACommand", command=command, folder=str(tmp_path)), limits=QUICK, num_trials=1)
    tasks.begin(0, split=Split.TRAINING)
    with pytest.raises(EnvsError, match="may hold 150 MiB"):
        step(tasks, 100)
