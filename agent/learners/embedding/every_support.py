"""One-shot tasks that share their images: each image of a task is in turn the only support example of its class.

Without sharing, one pass of a task's images through an embedding serves one one-shot task. With J images per class,
sharing makes it serve J tasks: in task j the j-th image of every class is support, and all other images are queries.

Shapes: B any leading batch, M tasks, N ways, J images a class, Z = N · J images, E features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SharedTasks:
    """The predictions of J one-shot tasks for their images.

    Attributes:
        own_log_p: [*B, J, J', N] log-probability of image (n, j)'s own class in task j'.
        is_best: whether that class has the largest probability.
        is_query: [J, J'] whether image j is a query of task j': all images except the task's support.
    """

    own_log_p: Tensor
    is_best: Tensor
    is_query: Tensor


def in_class_order(features: Float[Tensor, "M Z E"], labels: Int64[Tensor, "M Z"]) -> Float[Tensor, "M Z E"]:
    """Return the images sorted by class; within a class their order is unchanged."""
    order = labels.argsort(dim=1, stable=True)
    return features.gather(1, order.unsqueeze(2).expand_as(features))


def share_supports(logits: Float[Tensor, "*B Z Z"], *, num_ways: int) -> SharedTasks:
    """Split the logits of every image against every image into J one-shot tasks.

    Args:
        logits: logits of queries (rows) for the class of each image (columns), images sorted by class.
        num_ways: N; every class has equally many images.
    """
    per_class = logits.shape[-1] // num_ways
    # [*B, N, J, N', J']: query (n, j) against support (n', j').
    log_p = logits.view(*logits.shape[:-2], num_ways, per_class, num_ways, per_class).log_softmax(-2)
    own = log_p.diagonal(dim1=-4, dim2=-2)
    best = log_p.amax(-2).movedim(-3, -1)
    is_query = ~torch.eye(per_class, dtype=torch.bool, device=logits.device)
    return SharedTasks(own_log_p=own, is_best=own >= best, is_query=is_query)
