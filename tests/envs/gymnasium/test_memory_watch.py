"""The watch of a worker's memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from envs.gymnasium.memory_watch import MemoryWatch
from envs.limits import WorkerLimits

HELD_MIB = 30
WORKER = f"held = bytearray(b'1') * ({HELD_MIB} << 20); print(flush=True); input()"
SUPERVISOR = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORKER!r}])"


@pytest.fixture
def supervisor_pid() -> Iterator[int]:
    """Start a process whose only child holds memory, and return its id."""
    command = [sys.executable, "-c", SUPERVISOR]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.stdin.write(b"\n")
        process.stdin.flush()


def watch(pid: int, memory_mib: int, **more: Any) -> MemoryWatch:
    return MemoryWatch(pid, WorkerLimits(memory_mib=memory_mib, **more))


def test_memory_above_the_limit_is_told_in_words_and_the_processes_are_known_afterwards(supervisor_pid: int) -> None:
    strict = watch(supervisor_pid, HELD_MIB // 2)
    assert strict.excess(0.0).endswith(f"MiB of memory and may hold {HELD_MIB // 2} MiB.")
    [worker] = strict.seen
    assert worker.pid != supervisor_pid


def test_memory_within_the_limit_is_no_excess(supervisor_pid: int) -> None:
    generous = watch(supervisor_pid, 1 << 20)
    assert generous.excess(0.0) == ""
    assert not generous.is_too_much_to_close()


def test_a_worker_may_hold_half_as_much_again_while_it_closes(supervisor_pid: int) -> None:
    assert watch(supervisor_pid, HELD_MIB // 3).is_too_much_to_close()
    looked = watch(supervisor_pid, 1 << 20)
    looked.excess(0.0)
    [worker] = looked.seen
    closing = watch(supervisor_pid, int(worker.resident_bytes / 1.2) >> 20)
    assert closing.excess(0.0) != ""
    assert not closing.is_too_much_to_close()


def test_the_next_look_is_due_after_the_interval(supervisor_pid: int) -> None:
    now, watched = 1e9, watch(supervisor_pid, 1 << 20, watch_interval_s=2.0)
    watched.excess(now)
    assert [watched.is_due(now + passed_s) for passed_s in (1.9, 2.1)] == [False, True]
