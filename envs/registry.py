"""The built-in families of learnd, and the functions that open a family's tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envs.default_families import (
    BERNOULLI_BANDITS,
    DARK_ROOMS,
    NAVIGATION,
    RECURRING_BANDITS,
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
        spaces: the spaces with which the family was admitted, and which it must still have; None accepts any spaces.
        num_trials: B.
        device: device of the observations and rewards.
        limits: limits of the worker; None takes the defaults.
        rows_per_task: R. B/R tasks are opened instead of B, each in R rows with different noise. Only tensor families
            accept more than 1.
        on_wait: called regularly while the function waits for a worker. It may raise to end the wait.

    Raises:
        FamilySpecError: the entry names no tensor family, the spaces differ from those of admission, or
            ``rows_per_task`` is above 1 for a family with a worker.
        UnsupportedSpaceError: no encoder or head exists for one of the family's spaces.
        WorkerFaultError: the worker did not start.
    """
    if spec.source is FamilySource.TENSOR:
        tasks = _open_tensor_tasks(spec, num_trials=num_trials, device=device, rows_per_task=rows_per_task)
    else:
        _require_one_row(spec, rows_per_task)
        from envs.gymnasium.worker_group import open_worker_tasks

        tasks = open_worker_tasks(spec, num_trials=num_trials, device=device, limits=limits, on_wait=on_wait)
    if spaces is not None:
        tasks.spaces = tasks.spaces.described_as(spaces)  # A family of an earlier learnd goes on with its network.
    if spaces is not None and tasks.spaces != spaces:
        tasks.close()
        raise FamilySpecError(
            operation="opening family",
            subject=spec.name,
            found=f"its spaces are {tasks.spaces.key}, and it was admitted with {spaces.key}.",
            hint="Remove the family and add it again, so that it is admitted with its new spaces.",
        )
    return tasks


def _require_one_row(spec: FamilySpec, rows_per_task: int) -> None:
    if rows_per_task > 1:
        raise FamilySpecError(
            operation="opening family",
            subject=spec.name,
            found=f"{rows_per_task} rows per task are not possible for a family that is stepped by a worker.",
            hint="Each row of a worker is a separate task; play the episodes of a task one after another.",
        )


def _open_tensor_tasks(
    spec: FamilySpec, *, num_trials: int, device: torch.device | str, rows_per_task: int
) -> TaskBatch:
    if num_trials % rows_per_task:
        raise ValueError(
            f"opening {spec.name!r}: {num_trials} rows are not a multiple of {rows_per_task} rows per task."
        )
    family = _tensor_family(spec)
    return family(spec, num_trials=num_trials, device=device, rows_per_task=rows_per_task)


def _tensor_family(spec: FamilySpec) -> Callable[..., TaskBatch]:
    """Return the class that steps a tensor-native family. It is imported only here, because it imports torch."""
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
    if spec.entry == RECURRING_BANDITS:
        from envs.tensor.recurring_bandits import RecurringBandits

        return RecurringBandits
    if spec.entry == DARK_ROOMS:
        from envs.tensor.dark_rooms import DarkRooms

        return DarkRooms
    raise FamilySpecError(
        operation="opening family",
        subject=spec.name,
        found=f"{spec.entry!r} is not a tensor-native family.",
        hint=f"The tensor-native families are: {', '.join(TENSOR_FAMILIES)}.",
    )


def open_few_shot(spec: FamilySpec, *, report: Callable[[int], None] | None = None) -> FewShotFamily:
    """Open a family of few-shot tasks; see ``envs.few_shot.opening``.

    Args:
        spec: a family of source ``few_shot``.
        report: called with the number of images read so far.

    Raises:
        FamilySpecError: the keyword arguments are invalid, or there are too few images for them.
        ImageReadError: the folder, or an image in it, cannot be read.
    """
    from envs.few_shot.opening import open_few_shot as opened

    return opened(spec, report=report)
