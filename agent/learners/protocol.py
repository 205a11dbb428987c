"""The protocols that few-shot learners and their predictors implement.

A learner is built as ``Learner(shapes, config, generator=…)``. ``agent.learners.factory`` builds and restores it by
name.

Shapes: M tasks, S support examples, Q query examples, O outputs (N ways or the target's width D), K samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from envs.few_shot.tasks import FewShotBatch, FewShotShapes


@runtime_checkable
class Predictor(Protocol):
    """A predictor that a learner made from M support sets. Later updates of the learner do not change it."""

    def __call__(self, query_x: Tensor) -> Tensor:
        """Predict without building an autograd graph.

        Args:
            query_x: [M, Q, …] float32.

        Returns:
            [M, Q, O]: logits in classification, the mean in regression.
        """
        ...


@runtime_checkable
class SamplingPredictor(Predictor, Protocol):
    """A predictor that can also sample whole solutions: each sample is one function over all queries."""

    def sample(self, query_x: Tensor, *, num_samples: int, generator: torch.Generator) -> Tensor:
        """Sample K solutions of each task and predict with each.

        Args:
            query_x: [M, Q, …] float32.
            num_samples: K.
            generator: the source of the samples.

        Returns:
            [K, M, Q, O]: logits or means.
        """
        ...


@runtime_checkable
class TransductivePredictor(Predictor, Protocol):
    """A predictor whose answers may depend on the other queries of a task."""

    def each_alone(self) -> Predictor:
        """Return a predictor that answers each query independently of the others."""
        ...


@runtime_checkable
class ComparingPredictor(Predictor, Protocol):
    """A classifier that works in two separate steps: it embeds queries, then compares them with each task's classes."""

    def embed(self, query_x: Tensor) -> Tensor:
        """Return the queries' features: [M, Q, …] → [M, Q, E]."""
        ...

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits of task m for the features at index m: [M, Q, E] → [M, Q, N].

        The features may come from another task's ``embed``.
        """
        ...

    def side_by_side(self, tasks: slice) -> ComparingPredictor:
        """Return a predictor of one task that has the classes of all selected tasks, in order."""
        ...


@runtime_checkable
class FewShotLearner(Protocol):
    """A meta-learner of few-shot tasks.

    ``to_tensors()`` and ``to_meta()`` are its whole state: a learner restored from them continues bit for bit as if it
    had never stopped. ``initialization()`` is the part of the tensors, under the same names, that is published and used
    for adapting. A learner restored from the initialization alone adapts in the same way and starts with a fresh
    optimiser.
    """

    @property
    def shapes(self) -> FewShotShapes:
        """The shapes for which it was built."""
        ...

    @property
    def num_updates(self) -> int:
        """The number of outer steps taken."""
        ...

    def update(self, batch: FewShotBatch) -> dict[str, float]:
        """Take one outer step.

        Args:
            batch: M training tasks.

        Returns:
            Named metrics; always "loss", and "accuracy" in classification.
        """
        ...

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """Adapt to M tasks; the learner stays bit for bit the same.

        Args:
            support_x: [M, S, …] float32.
            support_y: [M, S] int64, or [M, S, D] float32.
        """
        ...

    def initialization(self) -> dict[str, Tensor]:
        """Return the tensors to publish: copies of those that ``adapt`` reads."""
        ...

    def to_tensors(self) -> dict[str, Tensor]:
        """Return ``initialization()`` and everything else that resuming needs: optimiser, random state."""
        ...

    def to_meta(self) -> dict[str, Any]:
        """Return JSON values: ``learner`` (its name), ``shapes``, ``config``, ``num_updates``."""
        ...

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, device: torch.device | str = "cpu"
    ) -> FewShotLearner:
        """Restore a learner from :meth:`to_tensors` (or :meth:`initialization`) and :meth:`to_meta`."""
        ...
