"""Prototypical Networks (Snell, Swersky & Zemel 2017, arXiv:1703.05175).

A class is represented by the mean of its support examples' features, and a query belongs to the nearest class:

    c_n = 1/K Σ_{(x, y) ∈ S, y = n} f_φ(x)                               (eq. 1)
    p(y = n | x) = softmax_n(-γ d(f_φ(x), c_n))                           (eq. 2)
    J(φ) = -mean over queries of log p(y | x)                             (section 2.2)

with d the squared Euclidean distance or the cosine distance. Nothing depends on the number of classes. Training on
tasks of more ways than are needed later gives better features (section 2.6): train with a family of higher way.

Departures from the paper, each off by default:

- ``Distance.TOLERANT``: small displacements of strokes add little distance.
- ``is_scale_learned``: γ is learned (γ = 1 in the paper); with cosine distance this is required.
- ``every_image_supports``: in one-shot tasks every example is in turn the only support of its class, and the others are
  queries. One pass through the embedding then serves K + Q one-shot tasks instead of one.
- ``statistics_prior``: in adapting, a task's support set determines the statistics that normalise its features, as the
  task's own images do while learning. (In the paper's code all queries of a task determine them, so answers depend on
  the other queries.)
- averaged weights, a decaying learning rate, bfloat16 (``TrainingConfig``, ``EmbeddingConfig``).

Shapes: M tasks, N ways, S = N · K support examples, Q query examples, J = (S + Q) / N examples a class, E features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's convention)
from jaxtyping import Float, Int64
from torch import Tensor, nn

from agent.learners.embedding.embeddings import Embedding, EmbeddingConfig
from agent.learners.embedding.every_support import in_class_order, share_supports
from agent.learners.embedding.tolerant_distance import tolerant_distances
from agent.learners.embedding.training import Training, TrainingConfig
from agent.learners.state import learner_meta, shapes_and_config
from agent.learners.team import Team
from envs.few_shot.tasks import FewShotBatch, FewShotShapes, num_ways_of

LEARNED_EUCLIDEAN_SCALE = 8.0
"""Initial γ · E, if γ is learned. Distances of features of unit variance then lie between 0 and a few tens."""

LEARNED_COSINE_SCALE = 12.0


class Distance(StrEnum):
    """A distance d of equation 2."""

    EUCLIDEAN = "euclidean"
    """|u - v|²"""

    COSINE = "cosine"
    """1 - u·v / (|u| |v|)"""

    TOLERANT = "tolerant"
    """The squared distance of feature maps, each place compared with the nearest around it (``tolerant_distance``)."""


@dataclass(frozen=True, kw_only=True)
class PrototypicalConfig:
    """Settings of a prototypical network.

    Attributes:
        embedding: f_φ.
        distance: d.
        is_scale_learned: learn γ instead of keeping it at 1.
        every_image_supports: use each example of a one-shot task as support in turn.
        statistics_prior: weight of the running statistics, as a number of examples, when a task's support set moves
            them; None normalises all tasks by the running statistics.
        training: Adam's settings; the paper has 1e-3, halved every 2,000 tasks.
    """

    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    distance: Distance = Distance.EUCLIDEAN
    is_scale_learned: bool = False
    every_image_supports: bool = False
    statistics_prior: float | None = None
    training: TrainingConfig = field(default_factory=TrainingConfig)


class PrototypicalNetwork(nn.Module):
    """The network of a prototypical learner: f_φ and γ.

    Args:
        shapes: shapes of the tasks; only the input's shape is used.
        config: the settings.
        generator: the source of the weights.

    Raises:
        ValueError: the distance compares feature maps, but the embedding does not produce any.
    """

    def __init__(self, shapes: FewShotShapes, config: PrototypicalConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.distance = config.distance
        self.embedding = Embedding(shapes.input_shape, config.embedding, generator=generator)
        if config.distance is Distance.TOLERANT and self.embedding.map_shape is None:
            raise ValueError(f"distance {config.distance.value!r} compares feature maps, which no perceptron makes.")
        self.log_scale: nn.Parameter | None = None
        if config.is_scale_learned:
            is_cosine = config.distance is Distance.COSINE
            start = LEARNED_COSINE_SCALE if is_cosine else LEARNED_EUCLIDEAN_SCALE / self.embedding.num_features
            self.log_scale = nn.Parameter(torch.tensor(math.log(start)))

    def logits(self, features: Float[Tensor, "M Q E"], prototypes: Float[Tensor, "M N E"]) -> Float[Tensor, "M Q N"]:
        """Return -γ d(f, c) of equation 2."""
        if self.distance is Distance.TOLERANT and self.embedding.map_shape is not None:
            distances = tolerant_distances(features, prototypes, map_shape=self.embedding.map_shape)
        elif self.distance is Distance.COSINE:
            distances = 1.0 - F.normalize(features, dim=2) @ F.normalize(prototypes, dim=2).mT
        else:
            distances = squared_distances(features, prototypes)
        return -distances if self.log_scale is None else -distances * self.log_scale.exp()


class PrototypicalLearner:
    """The prototypical learner: it learns an embedding that separates classes.

    Args:
        shapes: shapes of the tasks; the learner adapts to tasks of any number of ways and shots.
        config: the settings.
        generator: the source of the weights.
        device: device of the parameters.

    Raises:
        ValueError: the tasks are not a classification.
    """

    def __init__(
        self,
        shapes: FewShotShapes,
        config: PrototypicalConfig | None = None,
        *,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        if not shapes.is_classification:
            raise ValueError("building a prototypical network: the tasks are a regression, which has no classes.")
        self.shapes = shapes
        self.config = config or PrototypicalConfig()
        network = PrototypicalNetwork(shapes, self.config, generator=generator).to(device)
        self._training = Training(network, self.config.training)

    @property
    def num_updates(self) -> int:
        """The number of outer steps taken."""
        return self._training.num_updates

    def plan_updates(self, planned_updates: int) -> None:
        """Set the number of updates over which the learning rate falls, counted from the first update."""
        self._training.plan_updates(planned_updates)
        self.config = replace(self.config, training=self._training.config)

    def join(self, team: Team) -> None:
        """Train with other processes from now on: each update uses the tasks of all processes."""
        self._training.team = team

    def share_statistics(self) -> None:
        """Replace running statistics by their mean over the team.

        Without this, each process keeps the statistics of its own tasks.
        """
        self._training.share_statistics()

    def update(self, batch: FewShotBatch) -> dict[str, float]:
        """Take one step down J on M tasks."""
        network = self._training.trained
        num_support = batch.support_y.shape[1]
        features = network.embedding.embed_tasks(torch.cat([batch.support_x, batch.query_x], 1))
        if self.config.every_image_supports and num_support == num_ways_of(batch.support_y):
            labels = torch.cat([batch.support_y, batch.query_y], 1)
            loss, accuracy = _loss_of_every_support(network, features, labels)
        else:
            means = prototypes(features[:, :num_support], batch.support_y, num_ways=num_ways_of(batch.support_y))
            logits = network.logits(features[:, num_support:], means)
            loss = F.cross_entropy(logits.flatten(0, 1), batch.query_y.flatten())
            accuracy = (logits.argmax(2) == batch.query_y).float().mean()
        self._training.step(loss)
        return {"loss": loss.item(), "accuracy": accuracy.item()}

    def adapt(self, support_x: Tensor, support_y: Tensor) -> PrototypicalPredictor:
        """Compute each class's mean."""
        network = self._training.frozen_copy()
        prior, statistics = self.config.statistics_prior, None
        with torch.no_grad():
            if prior is None:
                features = network.embedding.embed_tasks(support_x)
            else:
                own = [network.embedding.task_statistics(task, prior=prior) for task in support_x]
                statistics, features = [found for found, _ in own], torch.stack([found for _, found in own])
            means = prototypes(features, support_y, num_ways=num_ways_of(support_y))
        return PrototypicalPredictor(network=network, prototypes=means, statistics=statistics)

    def initialization(self) -> dict[str, Tensor]:
        """Return the embedding and γ."""
        return self._training.initialization()

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the whole state."""
        return self._training.to_tensors()

    def to_meta(self) -> dict[str, Any]:
        """Return the part of the state that is not tensors."""
        return learner_meta("prototypical", self.config, self.num_updates, shapes=self.shapes)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, device: torch.device | str = "cpu"
    ) -> PrototypicalLearner:
        """Restore a learner from :meth:`to_tensors` (or :meth:`initialization`) and :meth:`to_meta`."""
        learner = cls(*shapes_and_config(meta, PrototypicalConfig), generator=torch.Generator(), device=device)
        learner._training.load_tensors(tensors, num_updates=int(meta["num_updates"]))
        return learner


@dataclass(frozen=True, kw_only=True)
class PrototypicalPredictor:
    """A predictor of the classes' means, with the network that compares queries with them.

    Attributes:
        network: the network.
        prototypes: [M, N, E].
        statistics: statistics of each task, if the learner has a ``statistics_prior``.
    """

    network: PrototypicalNetwork
    prototypes: Tensor
    statistics: Sequence[Mapping[str, Tensor]] | None = None

    def __call__(self, query_x: Float[Tensor, "M Q *X"]) -> Float[Tensor, "M Q N"]:
        """Return the logits of each query."""
        return self.logits(self.embed(query_x))

    @torch.no_grad()
    def embed(self, query_x: Float[Tensor, "M Q *X"]) -> Float[Tensor, "M Q E"]:
        """Return the queries' features."""
        return _embedded(self.network, self.statistics, query_x)

    def side_by_side(self, tasks: slice) -> PrototypicalPredictor:
        """Return a predictor of one task with the classes of all selected tasks, in order.

        It can compare features but not embed queries.
        """
        return PrototypicalPredictor(network=self.network, prototypes=self.prototypes[tasks].flatten(0, 1).unsqueeze(0))

    @torch.no_grad()
    def logits(self, features: Float[Tensor, "M Q E"]) -> Float[Tensor, "M Q N"]:
        """Return the logits of features under each task's prototypes."""
        return self.network.logits(features, self.prototypes)


def _embedded(
    network: PrototypicalNetwork, statistics: Sequence[Mapping[str, Tensor]] | None, x: Float[Tensor, "M S *X"]
) -> Float[Tensor, "M S E"]:
    """Embed each task's examples, normalised by its own statistics if there are any."""
    embedding = network.embedding
    if statistics is None:
        return embedding.embed_tasks(x)
    return torch.stack([embedding.embed_with(own, part) for own, part in zip(statistics, x, strict=True)])


def prototypes(
    features: Float[Tensor, "M S E"], labels: Int64[Tensor, "M S"], *, num_ways: int
) -> Float[Tensor, "M N E"]:
    """Return c_n, the mean features of each class (equation 1). Classes may differ in their number of examples."""
    members = F.one_hot(labels, num_ways).to(features.dtype)
    return (members.mT @ features) / members.sum(1).unsqueeze(2)


def squared_distances(left: Float[Tensor, "M Q E"], right: Float[Tensor, "M N E"]) -> Float[Tensor, "M Q N"]:
    """Return |u - v|² = |u|² - 2 u·v + |v|²."""
    products = left @ right.mT
    return left.square().sum(2).unsqueeze(2) - 2.0 * products + right.square().sum(2).unsqueeze(1)


def _loss_of_every_support(
    network: PrototypicalNetwork, features: Float[Tensor, "M Z E"], labels: Int64[Tensor, "M Z"]
) -> tuple[Tensor, Tensor]:
    """Return J and the accuracy over J one-shot tasks that share their images.

    Task j takes the j-th example of each class as support; all others are queries.
    """
    num_ways = num_ways_of(labels)
    features = in_class_order(features, labels)
    shared = share_supports(network.logits(features, features), num_ways=num_ways)
    loss = -shared.own_log_p[:, shared.is_query].mean()
    return loss, shared.is_best[:, shared.is_query].float().mean()
