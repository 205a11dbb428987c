"""Matching Networks (Vinyals, Blundell, Lillicrap, Kavukcuoglu & Wierstra 2016, arXiv:1606.04080).

The label of a query is a mean of the support examples' labels, weighted by similarity:

    p(y | x, S) = Σ_i a(x, x_i) [y = y_i]                                  (eq. 1)
    a(x, x_i) = softmax_i(γ cos(f(x), g(x_i)))                             (section 2.1.1)
    J = -mean over queries of log p(y | x, S)                              (eq. 2)

Without full context embeddings f = g = the embedding f'. With them (appendix A) a bidirectional LSTM reads the support
examples in sequence, and a query reads the support set by attention for K steps:

    g(x_i, S) = h→_i + h←_i + f'(x_i)                                      (eqs. 9, 10)
    ĥ_k, c_k = LSTM(f'(x), [h_{k-1}, r_{k-1}], c_{k-1});  h_k = ĥ_k + f'(x)    (eqs. 3, 4)
    r_{k-1} = Σ_i softmax_i(h_{k-1} · g(x_i)) g(x_i)                       (eqs. 5, 6);   f(x, S) = h_K

with h_0 = f'(x) and c_0 = 0; the paper does not state initial values.

Departures:

- γ is learned, starting at 10. The paper has none; with γ = 1 the softmax over [-1, 1] cannot become certain.
- Training presents the support set in random order, so that the LSTM learns to ignore the order.

Shapes: M tasks, N ways, S support examples, Q query examples, E features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's convention)
from jaxtyping import Float, Int64
from torch import Tensor, nn

from agent.learners.embedding.embeddings import Embedding, EmbeddingConfig
from agent.learners.embedding.training import Training, TrainingConfig
from agent.learners.state import RANDOM_STATE, learner_meta, shapes_and_config
from envs.few_shot.tasks import FewShotBatch, FewShotShapes, num_ways_of

START_SCALE = 10.0


@dataclass(frozen=True, kw_only=True)
class MatchingConfig:
    """Settings of a matching network.

    Attributes:
        embedding: f' (and g').
        has_full_context: use full context embeddings.
        processing_steps: K of the attention LSTM.
        training: Adam's settings.
    """

    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    has_full_context: bool = False
    processing_steps: int = 5
    training: TrainingConfig = field(default_factory=TrainingConfig)


class FullContext(nn.Module):
    """A module for the features of an example in the context of the whole support set (appendix A).

    Args:
        num_features: E.
        processing_steps: K.
        generator: the source of the weights, uniform within ± 1/√E as is usual for LSTMs.
    """

    def __init__(self, num_features: int, processing_steps: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.processing_steps = processing_steps
        self.reader = nn.LSTM(num_features, num_features, bidirectional=True, batch_first=True)
        # Gates are linear in x, h and r, so concatenating r to x equals the paper's cell with state [h, r].
        self.attention = nn.LSTMCell(2 * num_features, num_features)
        for parameter in self.parameters():
            bound = 1.0 / math.sqrt(num_features)
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def of_support(self, features: Float[Tensor, "M S E"]) -> Float[Tensor, "M S E"]:
        """Return g(x_i, S)."""
        read, _ = self.reader(features)
        forward, backward = read.chunk(2, dim=2)
        contextual: Tensor = forward + backward + features
        return contextual

    def of_queries(self, features: Float[Tensor, "M Q E"], support: Float[Tensor, "M S E"]) -> Float[Tensor, "M Q E"]:
        """Return f(x, S), by K steps of reading the support set with attention."""
        inputs = features.flatten(0, 1)
        hidden, cell = inputs, torch.zeros_like(inputs)
        for _ in range(self.processing_steps):
            state = hidden.view_as(features)
            read = ((state @ support.mT).softmax(2) @ support).flatten(0, 1)
            output, cell = self.attention(torch.cat([inputs, read], 1), (hidden, cell))
            hidden = output + inputs
        return hidden.view_as(features)


class MatchingNetwork(nn.Module):
    """The network of a matching learner: f, g and γ.

    Args:
        shapes: shapes of the tasks; only the input's shape is used.
        config: the settings.
        generator: the source of the weights.
    """

    def __init__(self, shapes: FewShotShapes, config: MatchingConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.embedding = Embedding(shapes.input_shape, config.embedding, generator=generator)
        self.log_scale = nn.Parameter(torch.tensor(math.log(START_SCALE)))
        self.context: FullContext | None = None
        if config.has_full_context:
            self.context = FullContext(self.embedding.num_features, config.processing_steps, generator=generator)

    def embed_support(self, features: Float[Tensor, "M S E"]) -> Float[Tensor, "M S E"]:
        """Return g(x_i, S) from g'(x_i)."""
        return features if self.context is None else self.context.of_support(features)

    def log_p(
        self, features: Float[Tensor, "M Q E"], support: Float[Tensor, "M S E"], labels: Int64[Tensor, "M S"]
    ) -> Float[Tensor, "M Q N"]:
        """Return log p(y | x, S) of equation 1.

        Args:
            features: f'(x).
            support: g(x_i, S).
            labels: y_i.
        """
        if self.context is not None:
            features = self.context.of_queries(features, support)
        cosines = F.normalize(features, dim=2) @ F.normalize(support, dim=2).mT
        log_attention = (cosines * self.log_scale.exp()).log_softmax(2)
        is_other = labels.unsqueeze(2) != torch.arange(num_ways_of(labels), device=labels.device)
        # The sum is computed over logarithms, so that a class with almost no attention still has a gradient.
        return log_attention.unsqueeze(3).masked_fill(is_other.unsqueeze(1), -torch.inf).logsumexp(2)


class MatchingLearner:
    """The matching learner: it learns an embedding whose similarities predict labels.

    Args:
        shapes: shapes of the tasks; the learner adapts to tasks of any number of ways and shots.
        config: the settings.
        generator: the source of the weights; its state then seeds the order of support sets.
        device: device of the parameters.

    Raises:
        ValueError: the tasks are not a classification.
    """

    def __init__(
        self,
        shapes: FewShotShapes,
        config: MatchingConfig | None = None,
        *,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        if not shapes.is_classification:
            raise ValueError("building a matching network: the tasks are a regression, and it carries labels over.")
        self.shapes = shapes
        self.config = config or MatchingConfig()
        self._training = Training(
            MatchingNetwork(shapes, self.config, generator=generator).to(device), self.config.training
        )
        self._generator = torch.Generator()
        self._generator.set_state(generator.get_state())

    @property
    def num_updates(self) -> int:
        """The number of outer steps taken."""
        return self._training.num_updates

    def update(self, batch: FewShotBatch) -> dict[str, float]:
        """Take one step down J on M tasks."""
        network = self._training.trained
        num_support = batch.support_y.shape[1]
        order = torch.randperm(num_support, generator=self._generator).to(batch.support_y.device)
        features = network.embedding.embed_tasks(torch.cat([batch.support_x[:, order], batch.query_x], 1))
        support = network.embed_support(features[:, :num_support])
        log_p = network.log_p(features[:, num_support:], support, batch.support_y[:, order])
        loss = F.nll_loss(log_p.flatten(0, 1), batch.query_y.flatten())
        accuracy = (log_p.argmax(2) == batch.query_y).float().mean()
        self._training.step(loss)
        return {"loss": loss.item(), "accuracy": accuracy.item()}

    def adapt(self, support_x: Tensor, support_y: Tensor) -> MatchingPredictor:
        """Embed the support set."""
        network = self._training.frozen_copy()
        with torch.no_grad():
            support = network.embed_support(network.embedding.embed_tasks(support_x))
        return MatchingPredictor(network=network, support=support, labels=support_y.clone())

    def initialization(self) -> dict[str, Tensor]:
        """Return f, g and γ."""
        return self._training.initialization()

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the whole state."""
        return self._training.to_tensors() | {RANDOM_STATE: self._generator.get_state()}

    def to_meta(self) -> dict[str, Any]:
        """Return the part of the state that is not tensors."""
        return learner_meta("matching", self.config, self.num_updates, shapes=self.shapes)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, device: torch.device | str = "cpu"
    ) -> MatchingLearner:
        """Restore a learner from :meth:`to_tensors` (or :meth:`initialization`) and :meth:`to_meta`."""
        learner = cls(*shapes_and_config(meta, MatchingConfig), generator=torch.Generator(), device=device)
        learner._training.load_tensors(tensors, num_updates=int(meta["num_updates"]))
        if RANDOM_STATE in tensors:
            learner._generator.set_state(tensors[RANDOM_STATE])
        return learner


@dataclass(frozen=True, kw_only=True)
class MatchingPredictor:
    """A predictor of an embedded support set, with the network that compares queries with it.

    Attributes:
        network: the network.
        support: [M, S, E].
        labels: [M, S].
    """

    network: MatchingNetwork
    support: Tensor
    labels: Tensor

    @torch.no_grad()
    def __call__(self, query_x: Float[Tensor, "M Q *X"]) -> Float[Tensor, "M Q N"]:
        """Return the log-probabilities of each query."""
        return self.network.log_p(self.network.embedding.embed_tasks(query_x), self.support, self.labels)
