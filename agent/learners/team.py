"""Processes that train one learner together by averaging gradients.

Each process holds a copy of the learner and draws its own tasks. All processes step by the mean of their gradients, so
the copies stay equal. An update then uses the tasks of all processes and takes as long as one of them. Batch statistics
are computed over each process's own tasks.
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
"""Timeout for waiting for another process, at the start and at every update."""


class Team:
    """One process's membership in a group that trains together; the default is a group of one.

    Args:
        place: the rank of this process, from 0.
        size: P, the number of processes.
    """

    def __init__(self, *, place: int = 0, size: int = 1) -> None:
        self.place = place
        self.size = size

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, in place. Shapes must be equal in every process.

        Raises:
            RuntimeError: another process has ended.
        """
        if self.size == 1:
            return
        flat = torch.cat([tensor.detach().reshape(-1).float().cpu() for tensor in tensors])
        mean = self._sum(flat) / self.size
        for tensor, part in zip(tensors, torch.split(mean, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(part.view_as(tensor))

    def first_of(self, number: int) -> int:
        """Return the number that the first process passes."""
        if self.size == 1:
            return number
        own = number if self.place == 0 else 0
        return int(self._sum(torch.tensor([own])).item())

    def _sum(self, flat: Shaped[Tensor, "N"]) -> Shaped[Tensor, "N"]:
        """Return the sum over all processes."""
        dist.all_reduce(flat)
        return flat


@contextmanager
def joined(*, place: int, size: int, meeting_file: Path) -> Iterator[Team]:
    """Connect to the other processes of a team on this machine, and disconnect at the end of the block.

    Args:
        place: the rank of this process.
        size: P.
        meeting_file: a path that all processes pass and that does not exist yet.
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
