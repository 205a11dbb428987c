"""The families that come with learnd, and the one way a family's tasks are opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envs.default_stream import BERNOULLI_BANDITS, TABULAR_MDPS, TENSOR_FAMILIES, default_stream
from envs.errors import FamilySpecError
from envs.family import FamilySource, FamilySpec

if TYPE_CHECKING:
    import torch

    from envs.limits import WorkerLimits
    from envs.spaces import SpacePair
    from envs.task_batch import TaskBatch

__all__ = ["default_stream", "open_tasks"]


def open_tasks(
    spec: FamilySpec,
    spaces: SpacePair | None,
    *,
    num_trials: int,
    device: torch.device | str,
    limits: WorkerLimits | None = None,
) -> TaskBatch:
    """Open B tasks of a family side by side.

    Args:
        spec: the family.
        spaces: the spaces it was admitted with, which it must still have; None takes what it has.
        num_trials: B.
        device: where observations and rewards are wanted.
        limits: bounds of the worker; None takes the defaults.

    Raises:
        FamilySpecError: the entry names no tensor family, or the spaces are no longer those of admission.
        UnsupportedSpaceError: no encoder or head exists for one of its spaces.
        WorkerFaultError: the worker did not start.
    """
    if spec.source is FamilySource.TENSOR:
        tasks = _open_tensor_tasks(spec, num_trials=num_trials, device=device)
    else:
        from envs.limits import WorkerLimits
        from envs.worker import WorkerTaskBatch

        tasks = WorkerTaskBatch(spec, num_trials=num_trials, device=device, limits=limits or WorkerLimits())
    if spaces is not None and tasks.spaces != spaces:
        found = tasks.spaces
        tasks.close()
        raise FamilySpecError(
            operation="opening family",
            subject=spec.name,
            found=f"its spaces are {found.key}, and it was admitted with {spaces.key}.",
            hint="Remove it and add it anew, so that it is admitted with its new spaces.",
        )
    return tasks


def _open_tensor_tasks(spec: FamilySpec, *, num_trials: int, device: torch.device | str) -> TaskBatch:
    if spec.entry == BERNOULLI_BANDITS:
        from envs.tensor.bandits import BernoulliBandits

        return BernoulliBandits(spec, num_trials=num_trials, device=device)
    if spec.entry == TABULAR_MDPS:
        from envs.tensor.tabular_mdps import TabularMdps

        return TabularMdps(spec, num_trials=num_trials, device=device)
    raise FamilySpecError(
        operation="opening family",
        subject=spec.name,
        found=f"{spec.entry!r} is no tensor-native family.",
        hint=f"There are: {', '.join(TENSOR_FAMILIES)}.",
    )
