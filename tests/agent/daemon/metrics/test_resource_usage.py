"""Memory and CPU of real processes by kind, and of GPUs as nvidia-smi reports them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.daemon.metrics.device_usage import DeviceUsage, read_devices
from agent.daemon.metrics.process_usage import DAEMON, KINDS, REFERENCE, TRAINER, WORKER, ProcessMeter

BUSY_PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
end = time.process_time() + 0.2
while time.process_time() < end: pass
print("ready", flush=True)
time.sleep(60)
"""


def test_processes_are_told_apart_and_cpu_time_outlives_a_process() -> None:
    others = ProcessMeter().read(None)[REFERENCE].resident_bytes  # children that other tests have left
    meter = ProcessMeter()
    with subprocess.Popen([sys.executable, "-c", BUSY_PARENT], stdout=subprocess.PIPE) as trainer:
        assert trainer.stdout is not None
        trainer.stdout.readline()
        used = meter.read(trainer.pid)
        assert set(used) == set(KINDS)
        assert used[DAEMON].resident_bytes > 0
        assert used[TRAINER].resident_bytes > 0
        assert used[TRAINER].cpu_s >= 0.2
        assert used[WORKER].resident_bytes > 0
        assert used[REFERENCE].resident_bytes <= others
        as_reference = ProcessMeter().read(None)
        assert as_reference[TRAINER].resident_bytes == 0
        assert as_reference[REFERENCE].resident_bytes >= used[TRAINER].resident_bytes
        trainer.kill()
        trainer.wait()
    after = meter.read(None)
    assert after[TRAINER].resident_bytes == 0
    assert after[TRAINER].cpu_s == used[TRAINER].cpu_s


def fake_nvidia_smi(folder: Path, *, prints: str, status: int = 0) -> str:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{prints}'\nexit {status}\n")
    program.chmod(0o755)
    return str(program)


def test_each_gpu_has_its_memory_and_utilisation(tmp_path: Path) -> None:
    command = fake_nvidia_smi(tmp_path, prints="0, 3300, 81559, 42\\n1, 0, 81559, 0\\n")
    assert read_devices(command) == (
        DeviceUsage(name="cuda:0", used_bytes=3300 * 2**20, size_bytes=81559 * 2**20, utilisation=0.42),
        DeviceUsage(name="cuda:1", used_bytes=0, size_bytes=81559 * 2**20, utilisation=0.0),
    )


@pytest.mark.parametrize(("prints", "status"), [("", 9), ("[N/A], [N/A], [N/A], [N/A]\\n", 0), ("no devices\\n", 0)])
def test_a_machine_whose_gpus_cannot_be_read_has_none(tmp_path: Path, prints: str, status: int) -> None:
    assert read_devices(fake_nvidia_smi(tmp_path, prints=prints, status=status)) == ()
    assert read_devices(str(tmp_path / "missing")) == ()
