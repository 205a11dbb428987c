"""Where learnd computes: the one place that turns a choice into a device, and that says with how many threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from agent.errors import AgentError
from agent.settings import DeviceChoice

DEVICE_FAULTS = (torch.OutOfMemoryError, torch.AcceleratorError)
"""What torch raises where a device is full, or failed."""


class DeviceError(AgentError):
    """A device that is not there, is full, or failed."""


def choose_device(choice: DeviceChoice) -> torch.device:
    """The device that is named; ``auto`` takes the GPU where there is one.

    Raises:
        DeviceError: a GPU is named and there is none.
    """
    is_available = torch.cuda.is_available()
    if choice is DeviceChoice.CUDA and not is_available:
        raise DeviceError(
            operation="choosing the device",
            subject="cuda",
            found=f"torch {torch.__version__} finds no CUDA device.",
            hint="Set --device (in the settings: learner.device) to auto or cpu, or install a CUDA build of torch and "
            "its driver.",
        )
    return torch.device("cuda" if is_available and choice is not DeviceChoice.CPU else "cpu")


@contextmanager
def computing_on(device: torch.device) -> Iterator[None]:
    """Turn what a device refuses into an error that says what to do.

    Raises:
        DeviceError: its memory is full, or it failed.
    """
    try:
        yield
    except DEVICE_FAULTS as error:
        raise DeviceError(
            operation="computing on",
            subject=describe_device(device),
            found=str(error).splitlines()[0],
            hint="Free it, or take --device cpu.",
        ) from error


def describe_device(device: torch.device) -> str:
    """A device in words: a GPU's model, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def default_threads() -> int:
    """Beside a service, or in it: a core is left to other processes, and such small products gain little past four.

    Threads beyond the free cores cost dearly: each product waits for its slowest thread.
    """
    return min(4, max(1, (os.cpu_count() or 1) - 1))


@contextmanager
def with_threads(count: int) -> Iterator[None]:
    """Let torch work with so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
