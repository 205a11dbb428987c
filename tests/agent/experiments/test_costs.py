"""Tests of measuring the cost of learning."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import torch

from agent.experiments.costs import peak_bytes, processor_seconds, processor_seconds_with_workers

MIB = 1 << 20


def mebibytes(count: int) -> torch.Tensor:
    return torch.zeros(count * MIB // 4)


def test_the_peak_is_of_what_is_held_at_once() -> None:
    def step() -> None:
        first = mebibytes(3)
        del first
        second, third = mebibytes(2), mebibytes(4)
        del second, third

    assert peak_bytes(step) == 6 * MIB


def test_a_view_and_what_was_there_before_do_not_count() -> None:
    before = mebibytes(5)
    assert peak_bytes(lambda: [before.view(-1, 2), before.mul_(2.0)]) == 0
    assert peak_bytes(lambda: before + 1.0) == 5 * MIB


def test_what_a_backward_pass_needs_is_seen() -> None:
    weight = torch.ones(MIB // 4, requires_grad=True)

    def step() -> None:
        weight.exp().exp().sum().backward()  # type: ignore[no-untyped-call]

    assert peak_bytes(step) >= 3 * MIB, "two results that are kept for the way back, and the gradient"


def spin(seconds: float) -> None:
    """Keep a processor busy for the given processor time of this thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_what_other_threads_do_is_not_counted() -> None:
    before = processor_seconds()
    other = threading.Thread(target=spin, args=(0.2,))
    other.start()
    other.join()
    assert processor_seconds() - before < 0.1
    spin(0.05)
    assert processor_seconds() - before >= 0.05


def test_what_a_worker_does_is_counted_beside() -> None:
    program = "import sys\nfor _ in range(5_000_000): pass\nprint('spun', flush=True)\nsys.stdin.read()"
    before, own = processor_seconds_with_workers(), processor_seconds()
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        together, alone = processor_seconds_with_workers() - before, processor_seconds() - own
        assert together - alone >= 0.03
        worker.communicate()


SPAWNS = """
import subprocess, sys
busy = "import time\\nwhile time.process_time() < 0.3: pass"
for _ in sys.stdin:
    subprocess.run([sys.executable, "-S", "-c", busy])
    print("done", flush=True)
"""


def test_what_processes_did_that_a_worker_started_and_that_have_ended_is_counted() -> None:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", SPAWNS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        before = processor_seconds_with_workers()
        worker.stdin.write(b"now\n")
        worker.stdin.flush()
        worker.stdout.readline()
        assert processor_seconds_with_workers() - before >= 0.2
        worker.stdin.close()
    assert processor_seconds_with_workers() - before >= 0.2, "nor is anything lost when the worker itself ends"
