"""Devices: the one place that turns a device choice into a torch device and sets the default number of threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from agent.config.settings import DeviceChoice
from agent.errors import AgentError

DEVICE_FAULTS = (torch.OutOfMemoryError, torch.AcceleratorError)
"""Exceptions that torch raises if a device is full or has failed."""


class DeviceError(AgentError):
    """An error: a device does not exist, is full, or has failed."""


def choose_device(choice: DeviceChoice) -> torch.device:
    """Return the chosen device; ``auto`` takes the GPU if there is one.

    Raises:
        DeviceError: a GPU is chosen and there is none.
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
    """Convert torch's device errors to an error with a hint.

    Raises:
        DeviceError: the device's memory is full, or the device has failed.
    """
    try:
        yield
    except DEVICE_FAULTS as error:
        raise DeviceError(
            operation="computing on",
            subject=describe_device(device),
            found=str(error).splitlines()[0],
            hint="Free the device's memory, or set --device cpu.",
        ) from error


def describe_device(device: torch.device) -> str:
    """Return the name of a device: a GPU's model, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def default_threads() -> int:
    """Return the default number of torch threads: all cores but one, at most four.

    Small products gain little from more than four threads. Threads beyond the free cores cost much time, because each
    product waits for its slowest thread.
    """
    return min(4, max(1, (os.cpu_count() or 1) - 1))


@contextmanager
def with_threads(count: int) -> Iterator[None]:
    """Set torch's number of threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
