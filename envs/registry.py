"""The families that come with learnd, and the one way a family's tasks are opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envs.default_families import (
    BERNOULLI_BANDITS,
    NAVIGATION,
    TABULAR_MDPS,
    TENSOR_FAMILIES,
    VARIED_CARTPOLE,
    default_stream,
)
from envs.errors import FamilySpecError
from envs.family import FamilySource, FamilySpec

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from envs.few_shot.tasks import FewShotFamily
    from envs.limits import WorkerLimits
    from envs.spaces import SpacePair
    from envs.task_batch import TaskBatch

__all__ = ["default_stream", "open_few_shot", "open_tasks"]


def open_tasks(
    spec: FamilySpec,
    spaces: SpacePair | None,
    *,
    num_trials: int,
    device: torch.device | str,
    limits: WorkerLimits | None = None,
    rows_per_task: int = 1,
    on_wait: Callable[[], None] | None = None,
) -> TaskBatch:
    """Open B tasks of a family side by side.

    Args:
        spec: the family.
        spaces: the spaces it was admitted with, which it must still have; None takes what it has.
        num_trials: B.
        device: where observations and rewards are wanted.
        limits: bounds of the worker; None takes the defaults.
        rows_per_task: R: instead of B tasks, B/R are opened, each in R rows whose noise differs (tensor families).
        on_wait: called now and then while a worker is waited for; what it raises ends the wait.

    Raises:
        FamilySpecError: the entry names no tensor family, the spaces are no longer those of admission, or a task of a
            worker is wanted in several rows.
        UnsupportedSpaceError: no encoder or head exists for one of its spaces.
        WorkerFaultError: the worker did not start.
    """
    if spec.source is FamilySource.TENSOR:
        tasks = _open_tensor_tasks(spec, num_trials=num_trials, device=device, rows_per_task=rows_per_task)
    elif rows_per_task > 1:
        raise FamilySpecError(
            operation="opening family",
            subject=spec.name,
            found=f"{rows_per_task} rows a task are wanted of a family that is stepped by a worker.",
            hint="A worker's rows are tasks of their own; play the episodes of a task one after another.",
        )
    else:
        from envs.gymnasium.batch import WorkerTaskBatch
        from envs.limits import WorkerLimits

        tasks = WorkerTaskBatch(
            spec, num_trials=num_trials, device=device, limits=limits or WorkerLimits(), on_wait=on_wait
        )
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


def _open_tensor_tasks(
    spec: FamilySpec, *, num_trials: int, device: torch.device | str, rows_per_task: int
) -> TaskBatch:
    if num_trials % rows_per_task:
        raise ValueError(
            f"opening {spec.name!r}: {num_trials} rows are no whole number of tasks of {rows_per_task} rows."
        )
    family = _tensor_family(spec)
    return family(spec, num_trials=num_trials, device=device, rows_per_task=rows_per_task)


def _tensor_family(spec: FamilySpec) -> Callable[..., TaskBatch]:
    """The class that steps a tensor-native family; loaded only here, with torch."""
    if spec.entry == BERNOULLI_BANDITS:
        from envs.tensor.bandits import BernoulliBandits

        return BernoulliBandits
    if spec.entry == TABULAR_MDPS:
        from envs.tensor.tabular_mdps import TabularMdps

        return TabularMdps
    if spec.entry == VARIED_CARTPOLE:
        from envs.tensor.cartpole import VariedCartPoles

        return VariedCartPoles
    if spec.entry == NAVIGATION:
        from envs.tensor.navigation import Navigation

        return Navigation
    raise FamilySpecError(
        operation="opening family",
        subject=spec.name,
        found=f"{spec.entry!r} is no tensor-native family.",
        hint=f"There are: {', '.join(TENSOR_FAMILIES)}.",
    )


def open_few_shot(spec: FamilySpec, *, report: Callable[[int], None] | None = None) -> FewShotFamily:
    """Open a family of few-shot tasks; see ``envs.few_shot.opening``.

    Args:
        spec: a family of source ``few_shot``.
        report: called with the number of images read so far.

    Raises:
        FamilySpecError: its keyword arguments have no meaning, or its images do not suffice for them.
        ImageReadError: its folder, or an image in it, cannot be read.
    """
    from envs.few_shot.opening import open_few_shot as opened

    return opened(spec, report=report)
