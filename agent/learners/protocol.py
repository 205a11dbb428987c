"""What every few-shot learner does, whatever its algorithm.

A learner is built as ``Learner(shapes, config, generator=…)``; ``agent.learners.registry`` builds and restores it by
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
    """What a learner made of M support sets; it holds no part of the learner that a later update changes."""

    def __call__(self, query_x: Tensor) -> Tensor:
        """Predict, without a graph.

        Args:
            query_x: [M, Q, …] float32.

        Returns:
            [M, Q, O]: logits in classification, the mean in regression.
        """
        ...


@runtime_checkable
class SamplingPredictor(Predictor, Protocol):
    """A predictor that can also draw whole solutions: each sample is one function over all queries."""

    def sample(self, query_x: Tensor, *, num_samples: int, generator: torch.Generator) -> Tensor:
        """Draw K solutions of each task and predict with each.

        Args:
            query_x: [M, Q, …] float32.
            num_samples: K.
            generator: draws the samples.

        Returns:
            [K, M, Q, O]: logits or means.
        """
        ...


@runtime_checkable
class TransductivePredictor(Predictor, Protocol):
    """A predictor that may let the queries of a task help one another: then answers depend on what else is asked."""

    def each_alone(self) -> Predictor:
        """The same, answering each query on its own."""
        ...


@runtime_checkable
class ComparingPredictor(Predictor, Protocol):
    """A classifier that embeds queries and then compares them with each task's classes: the two apart."""

    def embed(self, query_x: Tensor) -> Tensor:
        """The queries' features, [M, Q, …] → [M, Q, E]."""
        ...

    def logits(self, features: Tensor) -> Tensor:
        """What task m says of the features in place m, whichever task embedded them: [M, Q, E] → [M, Q, N]."""
        ...

    def side_by_side(self, tasks: slice) -> ComparingPredictor:
        """Some of the tasks as one, of all their classes in turn."""
        ...


class FewShotLearner(Protocol):
    """A meta-learner of few-shot tasks.

    Its whole state is ``to_tensors()`` and ``to_meta()``: restored from them, it goes on bit for bit as if it had
    never stopped. ``initialization()`` is the part of the tensors, under the same names, that is published and
    adapts; restored from that alone, a learner adapts the same and begins with a fresh optimiser.
    """

    @property
    def shapes(self) -> FewShotShapes:
        """The shapes it was built for."""
        ...

    @property
    def num_updates(self) -> int:
        """Outer steps taken."""
        ...

    def update(self, batch: FewShotBatch) -> dict[str, float]:
        """Take one outer step.

        Args:
            batch: M training tasks.

        Returns:
            Named metrics; "loss" is always there, and "accuracy" in classification.
        """
        ...

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """Adapt to M tasks; the learner is left bit for bit as it was.

        Args:
            support_x: [M, S, …] float32.
            support_y: [M, S] int64, or [M, S, D] float32.
        """
        ...

    def initialization(self) -> dict[str, Tensor]:
        """What is published: copies of the tensors that ``adapt`` reads."""
        ...

    def to_tensors(self) -> dict[str, Tensor]:
        """``initialization()`` and beside it all that resuming needs: optimiser, random state."""
        ...

    def to_meta(self) -> dict[str, Any]:
        """JSON values: ``learner`` (its name), ``shapes``, ``config``, ``num_updates``."""
        ...

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, device: torch.device | str = "cpu"
    ) -> FewShotLearner:
        """The learner of which :meth:`to_tensors` (or :meth:`initialization`) and :meth:`to_meta` tell."""
        ...
