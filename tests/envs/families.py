"""Families of the environments in ``environments/``, and what opens them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from envs.family import FamilySource, FamilySpec
from envs.gymnasium.batch import WorkerTaskBatch
from envs.limits import WorkerLimits

FOLDER = Path(__file__).parent / "environments"
LIMITS = WorkerLimits(memory_mib=400, step_timeout_s=30.0, start_timeout_s=30.0, nice=0)

FEW_STEPS = 60
"""The steps of one run in the checks of a family, for tests of families that show in so many what they are."""


def family(entry: str, **settings: Any) -> FamilySpec:
    values: dict[str, Any] = {"name": "tried", "source": FamilySource.GYMNASIUM, "import_paths": (str(FOLDER),)}
    return FamilySpec(**{**values, "entry": entry, **settings})


def sound(name: str, **settings: Any) -> FamilySpec:
    return family(f"sound_environments:{name}", **settings)


def broken(name: str, **settings: Any) -> FamilySpec:
    return family(f"broken_environments:{name}", **settings)


def drifting(name: str, **settings: Any) -> FamilySpec:
    return family(f"drifting_environments:{name}", **settings)


def opened(spec: FamilySpec, num_trials: int = 2, limits: WorkerLimits = LIMITS) -> WorkerTaskBatch:
    return WorkerTaskBatch(spec, num_trials=num_trials, device="cpu", limits=limits)


def all_active(num_trials: int) -> torch.Tensor:
    return torch.ones(num_trials, dtype=torch.bool)


@contextmanager
def playing(spec: FamilySpec, num_trials: int = 2) -> Iterator[WorkerTaskBatch]:
    tasks = opened(spec, num_trials)
    try:
        yield tasks
    finally:
        tasks.close()


def zeros(tasks: WorkerTaskBatch) -> torch.Tensor:
    return torch.zeros(tasks.num_trials, dtype=torch.int64)
