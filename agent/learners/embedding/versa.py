"""VERSA (Gordon, Bronskill, Bauer, Nowozin & Turner 2019, arXiv:1805.09921).

A network infers the head of a task in one pass instead of training it. The features h_θ(x) are shared by all tasks, and
the distribution of the head's weights is computed from the support set.

Classification (section 3, figure 2): the weights of each class come from the examples of that class alone,

    q_φ(w_n | S_n) = N(μ_n, diag σ_n²),   (μ_n, log σ_n²) = ψ_φ(1/K Σ_{x ∈ S_n} h_θ(x)),
    p(y | x, w) = softmax_n(w_n · [h_θ(x), 1]),

so a task may have any number of ways and shots. Regression: the head comes from all examples together,

    (μ, log σ²) = ψ_φ(1/K Σ_{(x, y) ∈ S} ρ_φ([h_θ(x), y])),   p(y | x, w) = N(y; w · [h_θ(x), 1], s²),

with one learned s. Departure: the paper's view reconstruction uses a decoder; regression here uses the linear head of
classification. Both are trained by the predictive likelihood of L heads (eqs. 3, 4; "ML-PIP"):

    J(θ, φ) = -mean over queries of log 1/L Σ_l p(y | x, w^(l)),   w^(l) ~ q_φ(w | S).

Other departures:

- The predictor draws its heads with a fixed seed, so that predictions are repeatable.
- On request, each image of a one-shot task is in turn the only support of its class, so that one pass through the
  features serves several tasks.

Shapes: M tasks, N ways, S support examples, Q query examples, L sampled heads, E features, D target width, O outputs (N
or D), W = E + 1 weights an output.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's convention)
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from agent.learners.embedding.embeddings import Embedding, EmbeddingConfig
from agent.learners.embedding.every_support import in_class_order, share_supports
from agent.learners.embedding.training import Training, TrainingConfig
from agent.learners.state import RANDOM_STATE, learner_meta, shapes_and_config
from envs.few_shot.tasks import FewShotBatch, FewShotShapes, num_ways_of

START_LOG_VARIANCE = -5.0
"""The initial log σ² of the head's weights. It is low, so that sampling noise does not dominate the first gradients."""

NUM_PREDICTIVE_SAMPLES = 10
"""L of a predictor, as many as are usual in training."""


@dataclass(frozen=True, kw_only=True)
class VersaConfig:
    """Settings of VERSA.

    Attributes:
        embedding: the embedding below the features.
        num_features: E, d_θ in the paper.
        hidden_size: width of the amortisation network's layers.
        num_samples: L while learning.
        every_image_supports: use each example of a one-shot classification as support in turn.
        training: Adam's settings.
    """

    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    num_features: int = 256
    hidden_size: int = 256
    num_samples: int = 10
    every_image_supports: bool = False
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(learning_rate=1e-4))


@dataclass(frozen=True, kw_only=True)
class HeadDistribution:
    """A distribution q_φ(w | S) of independent normal weights.

    Attributes:
        mean: μ, [M, O, W].
        log_variance: log σ², [M, O, W].
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self, num_samples: int, generator: torch.Generator) -> Float[Tensor, "L M O W"]:
        """Sample w^(l) = μ + σ ε^(l)."""
        noise = torch.randn(num_samples, *self.mean.shape, generator=generator, dtype=self.mean.dtype)
        return self.mean + (0.5 * self.log_variance).exp() * noise.to(self.mean.device)


class VersaNetwork(nn.Module):
    """The networks h_θ and ψ_φ, and for regression ρ_φ and s.

    Args:
        shapes: shapes of the tasks.
        config: the settings.
        generator: the source of the weights.
    """

    def __init__(self, shapes: FewShotShapes, config: VersaConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.is_classification = shapes.is_classification
        self.num_targets = shapes.output_size
        embedding = Embedding(shapes.input_shape, config.embedding, generator=generator)
        self.embedding = embedding
        self.features = nn.Linear(embedding.num_features, config.num_features)
        width, outputs = config.num_features, 1
        self.pairs: nn.Sequential | None = None
        self.log_noise: nn.Parameter | None = None
        if not shapes.is_classification:
            self.pairs = _amortiser(config.num_features + shapes.output_size, config.hidden_size, config.hidden_size)
            self.log_noise = nn.Parameter(torch.zeros(()))
            width, outputs = config.hidden_size, shapes.output_size
        self.head = _amortiser(width, config.hidden_size, 2 * outputs * (config.num_features + 1))
        for module in [self.features, *self.head.modules(), *(self.pairs.modules() if self.pairs else [])]:
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear", generator=generator)
                nn.init.zeros_(module.bias)

    def embed(self, x: Float[Tensor, "M S *X"]) -> Float[Tensor, "M S E"]:
        """Return h_θ(x)."""
        features: Tensor = F.elu(self.features(self.embedding.embed_tasks(x).relu()))
        return features

    def infer(self, features: Float[Tensor, "M S E"], targets: Shaped[Tensor, "M S *D"]) -> HeadDistribution:
        """Return q_φ(w | S)."""
        if self.pairs is None:
            members = F.one_hot(targets, num_ways_of(targets)).to(features.dtype)
            pooled = (members.mT @ features) / members.sum(1).unsqueeze(2)
            parameters = self.head(pooled)
        else:
            pooled = self.pairs(torch.cat([features, targets], 2)).mean(1)
            parameters = self.head(pooled).view(len(features), self.num_targets, -1)
        mean, log_variance = parameters.chunk(2, dim=2)
        return HeadDistribution(mean=mean, log_variance=log_variance + START_LOG_VARIANCE)

    def outputs(self, features: Float[Tensor, "M Q E"], heads: Float[Tensor, "L M O W"]) -> Float[Tensor, "L M Q O"]:
        """Return the outputs w · [h, 1] of each head: logits or means."""
        return features @ heads[..., :-1].mT + heads[..., -1].unsqueeze(2)

    def log_likelihood(
        self, outputs: Float[Tensor, "L M Q O"], targets: Shaped[Tensor, "M Q *D"]
    ) -> Float[Tensor, "M Q"]:
        """Return log 1/L Σ_l p(y | x, w^(l))."""
        if self.log_noise is None:
            each = outputs.log_softmax(3).gather(3, targets.expand(len(outputs), -1, -1).unsqueeze(3)).squeeze(3)
        else:
            errors = (outputs - targets) / self.log_noise.exp()
            each = (-0.5 * errors.square() - self.log_noise - 0.5 * math.log(2.0 * math.pi)).sum(3)
        return each.logsumexp(0) - math.log(len(outputs))


class VersaLearner:
    """The VERSA learner: it learns features and the inference of a head from a support set.

    Args:
        shapes: shapes of the tasks. A classifier adapts to any number of ways and shots, a regression to any number of
            shots.
        config: the settings.
        generator: the source of the weights; its state then seeds the sampling of heads.
        device: device of the parameters.
    """

    def __init__(
        self,
        shapes: FewShotShapes,
        config: VersaConfig | None = None,
        *,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        self.shapes = shapes
        self.config = config or VersaConfig()
        self._training = Training(
            VersaNetwork(shapes, self.config, generator=generator).to(device), self.config.training
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
        features = network.embed(torch.cat([batch.support_x, batch.query_x], 1))
        if self.config.every_image_supports and self._is_one_shot(batch):
            labels = torch.cat([batch.support_y, batch.query_y], 1)
            loss, metrics = self._loss_of_every_support(features, labels)
        else:
            heads = network.infer(features[:, :num_support], batch.support_y)
            outputs = network.outputs(features[:, num_support:], self._sampled(heads))
            loss = -network.log_likelihood(outputs, batch.query_y).mean()
            metrics = self._told(outputs.detach(), batch.query_y)
        self._training.step(loss)
        return {"loss": loss.item(), **metrics}

    def _is_one_shot(self, batch: FewShotBatch) -> bool:
        return self.shapes.is_classification and batch.support_y.shape[1] == num_ways_of(batch.support_y)

    def _sampled(self, heads: HeadDistribution) -> Float[Tensor, "L M O W"]:
        return heads.sample(self.config.num_samples, self._generator)

    def _loss_of_every_support(
        self, features: Float[Tensor, "M Z E"], labels: Int64[Tensor, "M Z"]
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Return J and the accuracy over the one-shot tasks that share their images.

        The head of each image is sampled once.
        """
        network, num_ways = self._training.trained, num_ways_of(labels)
        features = in_class_order(features, labels)
        each = torch.arange(features.shape[1], device=labels.device).expand(len(features), -1)
        outputs = network.outputs(features, self._sampled(network.infer(features, each)))
        shared = share_supports(outputs, num_ways=num_ways)
        log_p = shared.own_log_p.logsumexp(0) - math.log(len(outputs))
        is_best = shared.is_best.float().mean(0)
        return -log_p[:, shared.is_query].mean(), {"accuracy": is_best[:, shared.is_query].mean().item()}

    def _told(self, outputs: Float[Tensor, "L M Q O"], targets: Shaped[Tensor, "M Q *D"]) -> dict[str, float]:
        """Return metrics of the mean prediction."""
        if not self.shapes.is_classification:
            return {"squared_error": F.mse_loss(outputs.mean(0), targets).item()}
        best = outputs.softmax(3).mean(0).argmax(2)
        return {"accuracy": (best == targets).float().mean().item()}

    def adapt(self, support_x: Tensor, support_y: Tensor) -> VersaPredictor:
        """Infer each task's head."""
        network = self._training.frozen_copy()
        with torch.no_grad():
            heads = network.infer(network.embed(support_x), support_y)
        return VersaPredictor(network=network, heads=heads, num_samples=NUM_PREDICTIVE_SAMPLES)

    def initialization(self) -> dict[str, Tensor]:
        """Return the features and the amortisation network."""
        return self._training.initialization()

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the whole state."""
        return self._training.to_tensors() | {RANDOM_STATE: self._generator.get_state()}

    def to_meta(self) -> dict[str, Any]:
        """Return the part of the state that is not tensors."""
        return learner_meta("versa", self.config, self.num_updates, shapes=self.shapes)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, device: torch.device | str = "cpu"
    ) -> VersaLearner:
        """Restore a learner from :meth:`to_tensors` (or :meth:`initialization`) and :meth:`to_meta`."""
        learner = cls(*shapes_and_config(meta, VersaConfig), generator=torch.Generator(), device=device)
        learner._training.load_tensors(tensors, num_updates=int(meta["num_updates"]))
        if RANDOM_STATE in tensors:
            learner._generator.set_state(tensors[RANDOM_STATE])
        return learner


@dataclass(frozen=True, kw_only=True)
class VersaPredictor:
    """A predictor of inferred heads, with the network that computes their features.

    Attributes:
        network: the network.
        heads: q_φ(w | S).
        num_samples: L of the mean prediction.
        seed: seed of the mean prediction's heads.
    """

    network: VersaNetwork
    heads: HeadDistribution
    num_samples: int
    seed: int = 0

    @torch.no_grad()
    def __call__(self, query_x: Float[Tensor, "M Q *X"]) -> Float[Tensor, "M Q O"]:
        """Return the logarithm of the heads' mean probabilities, or the mean of their means."""
        generator = torch.Generator().manual_seed(self.seed)
        outputs = self.sample(query_x, num_samples=self.num_samples, generator=generator)
        if self.network.is_classification:
            return outputs.log_softmax(3).logsumexp(0) - math.log(self.num_samples)
        return outputs.mean(0)

    @torch.no_grad()
    def sample(
        self, query_x: Float[Tensor, "M Q *X"], *, num_samples: int, generator: torch.Generator
    ) -> Float[Tensor, "L M Q O"]:
        """Return logits or means of sampled heads."""
        heads = self.heads.sample(num_samples, generator)
        return self.network.outputs(self.network.embed(query_x), heads)


def _amortiser(width_in: int, hidden: int, width_out: int) -> nn.Sequential:
    """Return three layers with ELU between them, as in the paper's appendix."""
    return nn.Sequential(
        nn.Linear(width_in, hidden), nn.ELU(), nn.Linear(hidden, hidden), nn.ELU(), nn.Linear(hidden, width_out)
    )
