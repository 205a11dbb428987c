"""The memory of a worker's processes is counted once, however many of them share it."""

from __future__ import annotations

import subprocess
import sys

from envs.gymnasium.process_tree import descendants, held_bytes, process_state

MIB = 2**20
HELD_MIB = 100
NUM_FORKS = 4

HOLD_AND_FORK = f"""
import os, time
held = bytearray(os.urandom({MIB})) * {HELD_MIB}
for _ in range({NUM_FORKS}):
    if os.fork() == 0:
        break
else:
    print("ready", flush=True)
time.sleep(1000)
"""


def test_pages_that_forked_processes_share_are_counted_once() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD_AND_FORK], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        own = process_state(process.pid)
        assert own is not None
        states = [own, *descendants(process.pid)]
        try:
            assert len(states) == 1 + NUM_FORKS
            assert sum(state.resident_bytes for state in states) > (1 + NUM_FORKS) * HELD_MIB * MIB
            assert HELD_MIB * MIB < held_bytes(states, enough=2 * HELD_MIB * MIB) < 2 * HELD_MIB * MIB
        finally:
            for state in states:
                subprocess.run(["/bin/kill", "-9", str(state.pid)], check=False)


def test_a_process_that_has_exited_holds_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        state = process_state(process.pid)
        assert state is not None
        process.kill()
    assert held_bytes([state], enough=0) == 0
