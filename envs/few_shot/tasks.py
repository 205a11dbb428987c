"""Batches of parallel few-shot tasks, and the protocol of a family of such tasks.

Shapes: M tasks, S support examples, Q query examples, N ways, K shots, D output width; ``…`` is one input's own shape.
A task's support set has S = N · K examples in classification and S = K in regression.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from envs.family import Split


@dataclass(frozen=True, kw_only=True)
class FewShotShapes:
    """The shapes of a family that a learner needs to be built.

    Attributes:
        input_shape: one input's shape: (D,) for vectors, (channels, height, width) for images.
        output_size: N, the ways of a classification, or D, the width of a regression's target.
        is_classification: whether targets are class indices; otherwise they are vectors.
    """

    input_shape: tuple[int, ...]
    output_size: int
    is_classification: bool

    @classmethod
    def of(cls, family: FewShotFamily) -> FewShotShapes:
        """Return the shapes of a family's tasks."""
        return cls(
            input_shape=tuple(family.input_shape),
            output_size=family.output_size,
            is_classification=family.is_classification,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the shapes as JSON values."""
        return {**asdict(self), "input_shape": list(self.input_shape)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> FewShotShapes:
        """Return the shapes that :meth:`to_json` wrote."""
        return cls(
            input_shape=tuple(int(size) for size in values["input_shape"]),
            output_size=int(values["output_size"]),
            is_classification=bool(values["is_classification"]),
        )


@dataclass(frozen=True, kw_only=True)
class FewShotBatch:
    """A batch of M parallel tasks.

    In classification a class's index is its place in the task's own draw, so it has no meaning outside the task. The
    support set may be in any order.

    Attributes:
        support_x: [M, S, …] float32.
        support_y: [M, S] int64 class indices below N, or [M, S, D] float32.
        query_x: [M, Q, …] float32.
        query_y: [M, Q] int64, or [M, Q, D] float32.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor

    @property
    def num_tasks(self) -> int:
        """M, the number of tasks."""
        return len(self.support_x)

    @property
    def num_examples(self) -> int:
        """M (S + Q), the number of examples of all tasks."""
        return self.support_y.shape[:2].numel() + self.query_y.shape[:2].numel()


def num_ways_of(labels: Tensor) -> int:
    """Return N for labels 0 … N - 1, each of which must occur."""
    return int(labels.max()) + 1


@runtime_checkable
class FewShotFamily(Protocol):
    """A distribution over few-shot tasks of one shape."""

    @property
    def ways(self) -> int:
        """N classes per task; 1 in regression."""
        ...

    @property
    def shots(self) -> int:
        """K support examples per class (classification) or per task (regression)."""
        ...

    @property
    def queries(self) -> int:
        """The number of query examples per class (classification) or per task (regression)."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One input's shape."""
        ...

    @property
    def output_size(self) -> int:
        """N in classification, D in regression."""
        ...

    @property
    def is_classification(self) -> bool:
        """Return whether targets are class indices."""
        ...

    def sample(
        self, num_tasks: int, *, split: Split, first_task: int, device: torch.device | str = "cpu"
    ) -> FewShotBatch:
        """Return tasks ``first_task … first_task + num_tasks - 1`` of a split.

        Task i of a split is the same in batches of every size and at every call. The two splits share no task; in
        classification they share no class.

        Args:
            num_tasks: M.
            split: training or held-out tasks.
            first_task: index of the first task, from 0.
            device: device of the tensors.
        """
        ...
