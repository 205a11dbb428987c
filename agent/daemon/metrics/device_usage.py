"""Memory and utilisation of NVIDIA GPUs, as ``nvidia-smi`` reports them: the daemon does not load torch."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

QUERY = "index,memory.used,memory.total,utilization.gpu"
TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class DeviceUsage:
    """The use of one GPU.

    Attributes:
        name: "cuda:" and the index that nvidia-smi gives it.
        used_bytes: used memory, of all processes.
        size_bytes: memory of the device.
        utilisation: share of time in which the device was busy, in [0, 1].
    """

    name: str
    used_bytes: int
    size_bytes: int
    utilisation: float


def read_devices(command: str = "nvidia-smi") -> tuple[DeviceUsage, ...]:
    """Return the use of each GPU; none if the command is missing, fails or reports something else."""
    words = [command, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(words, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
        return tuple(_usage_of(line) for line in answer.stdout.splitlines() if line.strip())
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()


def _usage_of(line: str) -> DeviceUsage:
    index, used_mib, size_mib, percent = (part.strip() for part in line.split(","))
    return DeviceUsage(
        name=f"cuda:{index}",
        used_bytes=int(used_mib) * 2**20,
        size_bytes=int(size_mib) * 2**20,
        utilisation=float(percent) / 100,
    )
