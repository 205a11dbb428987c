"""PLATIPUS: probabilistic model-agnostic meta-learning (Finn, Xu & Levine 2018, arXiv:1806.02817).

The learned parameters are Θ = (μ_θ, σ²_θ, v_q, γ_p, γ_q): a Gaussian over initial parameters, the variance of the
inference network, and two rates. With L the negative log-likelihood, for each training task (algorithm 1):

    q(θ)  = N(μ_θ - γ_q ∇L(μ_θ; query), v_q)            inference: one gradient step on the queries
    p(θ)  = N(μ_θ - γ_p ∇L(μ_θ; support), σ²_θ)         prior given the support set: one gradient step on it
    θ ~ q,  φ = θ - α ∇L(θ; support)
    minimise  L(φ; query) + KL(q ‖ p)   over Θ

In adapting (algorithm 2): θ ~ p, φ = θ - α ∇L(θ; support). Each sample is one complete solution.

Departures:

- γ and α multiply gradients of the mean loss over examples; the rates absorb its scale.
- φ may take more than one step.
- KL(q ‖ p) has a weight (1 is the paper's bound).
- γ_p and γ_q are one number per parameter tensor.
- Inference may use the support set in addition to the query set.

Shapes: M tasks, S support examples, Q queries, O outputs, K samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from agent.learners.adam import Adam
from agent.learners.gradient.functional import (
    AdaptedNetwork,
    Parameters,
    TaskLoss,
    accuracy_metric,
    adapt_by_gradient,
    stacked,
    take_outer_step,
    task_loss,
)
from agent.learners.gradient.networks import NetworkConfig, TaskNetwork, build_network
from agent.learners.state import (
    RANDOM_STATE,
    learner_meta,
    load_state,
    optimizer_to_tensors,
    shapes_and_config,
    with_prefix,
)
from envs.few_shot.tasks import FewShotBatch, FewShotShapes


@dataclass(frozen=True, kw_only=True)
class PlatipusConfig:
    """Settings of PLATIPUS, with the paper's symbols.

    Attributes:
        inner_lr: α, the rate of the steps from θ to φ.
        num_inner_steps: steps from θ to φ in training.
        num_adapt_steps: steps from θ to φ in ``adapt``; None takes as many as in training.
        initial_std: σ_θ at the start.
        initial_inference_std: √v_q at the start.
        initial_prior_rate: γ_p and γ_q at the start.
        kl_weight: weight of KL(q ‖ p).
        noise_std: standard deviation of a regression's targets around the function.
        infers_from_all: whether inference uses the support set in addition to the query set.
        outer_lr: Adam's rate for Θ.
        final_outer_lr_scale: the rate after ``decay_updates``, as a share of ``outer_lr``.
        decay_updates: outer steps over which the rate falls; None keeps it constant.
        max_gradient_norm: norm to which the outer gradient is clipped; None does not clip.
        network: the function that is adapted.
    """

    inner_lr: float = 0.01
    num_inner_steps: int = 1
    num_adapt_steps: int | None = None
    initial_std: float = 0.1
    initial_inference_std: float = 0.05
    initial_prior_rate: float = 0.01
    kl_weight: float = 1.0
    noise_std: float = 0.3
    infers_from_all: bool = False
    outer_lr: float = 1e-3
    final_outer_lr_scale: float = 0.0
    decay_updates: int | None = None
    max_gradient_norm: float | None = 10.0
    network: NetworkConfig = field(default_factory=NetworkConfig)

    @property
    def steps_to_adapt(self) -> int:
        """The number of steps from θ to φ in ``adapt``."""
        return self.num_inner_steps if self.num_adapt_steps is None else self.num_adapt_steps


@dataclass(frozen=True, kw_only=True)
class GaussianParameters:
    """A product of independent normal distributions over each task's parameters.

    Attributes:
        mean: name → [M, *shape].
        log_std: name → [1 or M, *shape].
    """

    mean: Parameters
    log_std: Parameters

    def sample(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Sample θ = mean + std ε, ε ~ N(0, 1): differentiable in both."""
        return {
            name: mean + self.log_std[name].exp() * torch.randn(mean.shape, generator=generator).to(mean)
            for name, mean in self.mean.items()
        }

    def divergence_from(self, prior: GaussianParameters) -> Float[Tensor, " M"]:
        """Return KL(self ‖ prior), summed over all parameters.

        Each parameter contributes log(σ_p/σ_q) + (σ_q² + (μ_q - μ_p)²) / (2 σ_p²) - ½.
        """
        total: Tensor | float = 0.0
        for name, mean in self.mean.items():
            log_ratio = prior.log_std[name] - self.log_std[name]
            distance = (mean - prior.mean[name]) * torch.exp(-prior.log_std[name])
            terms = log_ratio + 0.5 * (torch.exp(-2.0 * log_ratio) + distance.square()) - 0.5
            total = total + terms.flatten(1).sum(1)
        return torch.as_tensor(total)


class Platipus:
    """The PLATIPUS learner: ``network`` holds μ_θ.

    Args:
        shapes: shapes of the family's tasks.
        config: settings.
        generator: the source of the initial μ_θ, and of the seed of the learner's own generator, which draws training
            samples.
        device: device of Θ.
    """

    def __init__(
        self,
        shapes: FewShotShapes,
        config: PlatipusConfig,
        *,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        self.shapes = shapes
        self.config = config
        self.num_updates = 0
        self.network = build_network(shapes, config.network, generator=generator).to(device)
        named = dict(self.network.named_parameters())
        self.log_std = {n: nn.Parameter(torch.full_like(p, math.log(config.initial_std))) for n, p in named.items()}
        self.inference_log_std = {
            n: nn.Parameter(torch.full_like(p, math.log(config.initial_inference_std))) for n, p in named.items()
        }
        rate = config.initial_prior_rate
        self.prior_rates = {n: nn.Parameter(p.new_full((1,) * p.ndim, rate)) for n, p in named.items()}
        self.inference_rates = {n: nn.Parameter(p.new_full((1,) * p.ndim, rate)) for n, p in named.items()}
        self._loss = task_loss(is_classification=shapes.is_classification)
        self._optimizer = Adam([p for _, p in self._named_learned()], lr=config.outer_lr, fused=True)
        self._generator = torch.Generator()
        self._generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))

    def update(self, batch: FewShotBatch) -> dict[str, float]:
        """Take one outer step (algorithm 1)."""
        config = self.config
        likelihood, divergence, outputs = self.outer_loss(batch, self._generator)
        # Per query, so that the rate does not depend on the number of queries.
        loss = likelihood + config.kl_weight * divergence / batch.query_y.shape[1]
        take_outer_step(self._optimizer, loss, config=config, num_updates=self.num_updates)
        self.num_updates += 1
        return {
            "loss": loss.item(),
            "negative_log_likelihood": likelihood.item(),
            "divergence": divergence.item(),
            **accuracy_metric(outputs, batch.query_y, is_classification=self.shapes.is_classification),
        }

    def outer_loss(
        self, batch: FewShotBatch, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, "M Q O"]]:
        """Return the two terms of the bound, L(φ; query) per query and KL(q ‖ p), and the outputs on the queries.

        Both terms are means over tasks, differentiable in Θ.

        Args:
            batch: M tasks.
            generator: the source of θ ~ q.
        """
        explained_x, explained_y = batch.query_x, batch.query_y
        if self.config.infers_from_all:
            explained_x = torch.cat([batch.support_x, explained_x], 1)
            explained_y = torch.cat([batch.support_y, explained_y], 1)
        inference = GaussianParameters(
            mean=self._one_step(explained_x, explained_y, self.inference_rates),
            log_std={name: p.unsqueeze(0) for name, p in self.inference_log_std.items()},
        )
        prior = self._prior(batch.support_x, batch.support_y)
        adapted = adapt_by_gradient(
            self.network,
            inference.sample(generator),
            batch.support_x,
            batch.support_y,
            loss=self._loss,
            rates=self.config.inner_lr,
            num_steps=self.config.num_inner_steps,
        )
        outputs = self.network.forward_tasks(adapted, batch.query_x)
        likelihood = self._negative_log_likelihood(self._loss(outputs, batch.query_y))
        return likelihood.mean(), inference.divergence_from(prior).mean(), outputs

    @torch.no_grad()
    def adapt(self, support_x: Float[Tensor, "M S *X"], support_y: Shaped[Tensor, "M S *D"]) -> PosteriorPredictor:
        """Compute p(θ) of each support set, from which the predictor samples solutions (algorithm 2)."""
        prior = self._prior(support_x, support_y)
        return PosteriorPredictor(
            network=self.network,
            posterior=GaussianParameters(
                mean=prior.mean, log_std={name: p.detach().clone() for name, p in prior.log_std.items()}
            ),
            support_x=support_x,
            support_y=support_y,
            loss=self._loss,
            inner_lr=self.config.inner_lr,
            num_steps=self.config.steps_to_adapt,
        )

    def _prior(self, support_x: Tensor, support_y: Tensor) -> GaussianParameters:
        return GaussianParameters(
            mean=self._one_step(support_x, support_y, self.prior_rates),
            log_std={name: p.unsqueeze(0) for name, p in self.log_std.items()},
        )

    def _one_step(self, x: Tensor, y: Tensor, rates: Parameters) -> dict[str, Tensor]:
        return adapt_by_gradient(self.network, stacked(self.network), x, y, loss=self._loss, rates=rates, num_steps=1)

    def _negative_log_likelihood(self, losses: Float[Tensor, " M"]) -> Float[Tensor, " M"]:
        """Return -log p(y | f(x)) per query from the mean losses."""
        if self.shapes.is_classification:
            return losses
        noise = self.config.noise_std
        width = self.shapes.output_size
        return width * (losses / (2.0 * noise**2) + math.log(noise) + 0.5 * math.log(2.0 * math.pi))

    def initialization(self) -> dict[str, Tensor]:
        """Return Θ."""
        return with_prefix("parameters", dict(self._named_learned()))

    def to_tensors(self) -> dict[str, Tensor]:
        """Return Θ, Adam's moments and the random state of the samples."""
        moments = optimizer_to_tensors(self._optimizer, self._named_learned())
        return {**self.initialization(), **moments, RANDOM_STATE: self._generator.get_state()}

    def to_meta(self) -> dict[str, Any]:
        """Return the settings, shapes and counts that belong to the tensors, as JSON values."""
        return learner_meta("platipus", self.config, self.num_updates, shapes=self.shapes)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, device: torch.device | str = "cpu"
    ) -> Platipus:
        """Restore the learner that :meth:`to_tensors` and :meth:`to_meta` saved."""
        generator = torch.Generator().manual_seed(0)
        learner = cls(*shapes_and_config(meta, PlatipusConfig), generator=generator, device=device)
        load_state(tensors, learner._named_learned(), optimizer=learner._optimizer, generator=learner._generator)
        learner.num_updates = int(meta["num_updates"])
        return learner

    def _named_learned(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.network.named_parameters()
        for prefix, parameters in (
            ("log_std", self.log_std),
            ("inference_log_std", self.inference_log_std),
            ("prior_rates", self.prior_rates),
            ("inference_rates", self.inference_rates),
        ):
            yield from ((f"{prefix}.{name}", parameter) for name, parameter in parameters.items())


@dataclass(frozen=True, kw_only=True)
class PosteriorPredictor:
    """A predictor that samples solutions: θ from the posterior, φ by gradient steps on the support set.

    Attributes:
        network: the function f.
        posterior: p(θ | support) of each task.
        support_x: [M, S, …].
        support_y: [M, S] or [M, S, D].
        loss: L.
        inner_lr: α.
        num_steps: steps from θ to φ.
        is_transductive: whether all queries of a task are run at once (:class:`AdaptedNetwork`).
    """

    network: TaskNetwork
    posterior: GaussianParameters
    support_x: Tensor
    support_y: Tensor
    loss: TaskLoss
    inner_lr: float
    num_steps: int
    is_transductive: bool = True

    def each_alone(self) -> PosteriorPredictor:
        """Return a predictor that runs each query alone with the support set."""
        return replace(self, is_transductive=False)

    @torch.no_grad()
    def __call__(self, query_x: Float[Tensor, "M Q *X"]) -> Float[Tensor, "M Q O"]:
        """Return f(x; φ) with φ from the posterior's mean: its most likely θ, not the mean over samples."""
        return self._solve(self.posterior.mean)(query_x)

    @torch.no_grad()
    def sample(
        self, query_x: Float[Tensor, "M Q *X"], *, num_samples: int, generator: torch.Generator
    ) -> Float[Tensor, "K M Q O"]:
        """Return f(x; φ) of K solutions."""
        return torch.stack([self._solve(self.posterior.sample(generator))(query_x) for _ in range(num_samples)])

    def _solve(self, theta: Parameters) -> AdaptedNetwork:
        adapted = adapt_by_gradient(
            self.network,
            theta,
            self.support_x,
            self.support_y,
            loss=self.loss,
            rates=self.inner_lr,
            num_steps=self.num_steps,
        )
        return AdaptedNetwork(
            network=self.network,
            parameters=adapted,
            support_x=self.support_x,
            is_transductive=self.is_transductive,
        )
