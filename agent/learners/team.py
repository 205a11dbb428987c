"""Processes that train one learner together.

Each holds the same learner and takes tasks of its own; they step by the mean of their gradients, so that they stay the
same. An update is then of as many tasks as there are processes, and takes as long as one of them. Batch statistics are
of each process's own tasks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

PATIENCE = timedelta(minutes=10)
"""How long one waits for another, at the start and at every update."""


class Team:
    """One process's place among those that train together; by default it is alone.

    Args:
        place: which of them it is, from 0.
        size: P, how many they are.
    """

    def __init__(self, *, place: int = 0, size: int = 1) -> None:
        self.place = place
        self.size = size

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Make each tensor, of the same shapes in every process, the mean of all processes' in place.

        Raises:
            RuntimeError: another process is gone.
        """
        if self.size == 1:
            return
        flat = torch.cat([tensor.detach().reshape(-1).float().cpu() for tensor in tensors])
        mean = self._sum(flat) / self.size
        for tensor, part in zip(tensors, torch.split(mean, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(part.view_as(tensor))

    def first_of(self, number: int) -> int:
        """The number that the first process gives."""
        if self.size == 1:
            return number
        own = number if self.place == 0 else 0
        return int(self._sum(torch.tensor([own])).item())

    def _sum(self, flat: Shaped[Tensor, "N"]) -> Shaped[Tensor, "N"]:
        """The sum over all processes."""
        dist.all_reduce(flat)
        return flat


@contextmanager
def joined(*, place: int, size: int, meeting_file: Path) -> Iterator[Team]:
    """Meet the other processes of a team, on this machine, and part at the end of the block.

    Args:
        place: which of them this one is.
        size: P.
        meeting_file: a path that all name and that does not exist yet.
    """
    if size == 1:
        yield Team()
        return
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{meeting_file}", rank=place, world_size=size, timeout=PATIENCE)
    try:
        yield Team(place=place, size=size)
    finally:
        dist.destroy_process_group()
