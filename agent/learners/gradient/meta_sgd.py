"""Meta-SGD: learning to learn quickly (Li, Zhou, Chen & Li 2017, arXiv:1707.09835).

Inner, task m:  φ_m = θ - α ∘ ∇_θ L(θ; support_m)                                             (equation 4)
Outer:          (θ, α) ← (θ, α) - β ∇_(θ,α) (1/M) Σ_m L(φ_m; query_m)                         (algorithm 1)

α has the shape of θ and is learned together with θ. The signs and sizes of its entries determine the direction and
length of the step. If all entries of α are equal and fixed, this is MAML.

Departures, all off by default:

- more than one inner step may be taken (the paper takes one);
- α may have its own rate in the outer step;
- the outer rate may fall linearly;
- the outer gradient may be clipped.

Shapes: M tasks, S support examples, Q queries, O outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from agent.learners.adam import Adam
from agent.learners.gradient.functional import (
    AdaptedNetwork,
    accuracy_metric,
    adapt_by_gradient,
    stacked,
    take_outer_step,
    task_loss,
    uniform_like,
)
from agent.learners.gradient.networks import NetworkConfig, build_network
from agent.learners.state import (
    learner_meta,
    load_state,
    optimizer_to_tensors,
    shapes_and_config,
    with_prefix,
)
from envs.few_shot.tasks import FewShotBatch, FewShotShapes


@dataclass(frozen=True, kw_only=True)
class MetaSGDConfig:
    """Settings of Meta-SGD, with the paper's symbols.

    Attributes:
        initial_rates: range from which the initial entries of α are drawn uniformly.
        learns_rates: whether α is learned; if False, α keeps its initial values.
        num_inner_steps: inner steps in training.
        num_adapt_steps: inner steps in ``adapt``; None takes as many as in training.
        outer_lr: β, Adam's rate for θ.
        rates_lr: Adam's rate for α; None takes β.
        final_outer_lr_scale: the outer rates after ``decay_updates``, as a share of their initial values.
        decay_updates: outer steps over which the rates fall; None keeps them constant.
        max_gradient_norm: norm to which the outer gradient is clipped; None does not clip.
        network: the function that is adapted.
    """

    initial_rates: tuple[float, float] = (0.005, 0.1)
    learns_rates: bool = True
    num_inner_steps: int = 1
    num_adapt_steps: int | None = None
    outer_lr: float = 1e-3
    rates_lr: float | None = None
    final_outer_lr_scale: float = 0.0
    decay_updates: int | None = None
    max_gradient_norm: float | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)

    @property
    def steps_to_adapt(self) -> int:
        """The number of inner steps in ``adapt``."""
        return self.num_inner_steps if self.num_adapt_steps is None else self.num_adapt_steps


class MetaSGD:
    """The Meta-SGD learner: ``network`` holds θ, ``rates`` holds α.

    Args:
        shapes: shapes of the family's tasks.
        config: settings.
        generator: the source of the initial θ and α.
        device: device of θ and α.
    """

    def __init__(
        self,
        shapes: FewShotShapes,
        config: MetaSGDConfig,
        *,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        self.shapes = shapes
        self.config = config
        self.num_updates = 0
        self.network = build_network(shapes, config.network, generator=generator).to(device)
        self.rates = {
            name: nn.Parameter(
                uniform_like(parameter, config.initial_rates, generator), requires_grad=config.learns_rates
            )
            for name, parameter in self.network.named_parameters()
        }
        self._loss = task_loss(is_classification=shapes.is_classification)
        rates_lr = config.outer_lr if config.rates_lr is None else config.rates_lr
        self._optimizer = Adam(
            [
                {"params": list(self.network.parameters()), "lr": config.outer_lr},
                {"params": list(self.rates.values()), "lr": rates_lr},
            ],
            fused=True,
        )

    def update(self, batch: FewShotBatch) -> dict[str, float]:
        """Take one outer step (algorithm 1)."""
        loss, outputs = self.outer_loss(batch)
        take_outer_step(self._optimizer, loss, config=self.config, num_updates=self.num_updates)
        self.num_updates += 1
        is_classification = self.shapes.is_classification
        return {"loss": loss.item(), **accuracy_metric(outputs, batch.query_y, is_classification=is_classification)}

    def outer_loss(self, batch: FewShotBatch) -> tuple[Float[Tensor, ""], Float[Tensor, "M Q O"]]:
        """Return (1/M) Σ_m L(φ_m; query_m), differentiable in θ and α, and the adapted outputs on the queries."""
        adapted = adapt_by_gradient(
            self.network,
            stacked(self.network),
            batch.support_x,
            batch.support_y,
            loss=self._loss,
            rates=self.rates,
            num_steps=self.config.num_inner_steps,
        )
        outputs = self.network.forward_tasks(adapted, batch.query_x)
        return self._loss(outputs, batch.query_y).mean(), outputs

    @torch.no_grad()
    def adapt(self, support_x: Float[Tensor, "M S *X"], support_y: Shaped[Tensor, "M S *D"]) -> AdaptedNetwork:
        """Return a predictor with φ_m of each support set."""
        adapted = adapt_by_gradient(
            self.network,
            {name: parameter.clone() for name, parameter in stacked(self.network).items()},
            support_x,
            support_y,
            loss=self._loss,
            rates=self.rates,
            num_steps=self.config.steps_to_adapt,
        )
        return AdaptedNetwork(network=self.network, parameters=adapted, support_x=support_x)

    def initialization(self) -> dict[str, Tensor]:
        """Return θ and α."""
        return with_prefix("parameters", dict(self._named_learned()))

    def to_tensors(self) -> dict[str, Tensor]:
        """Return θ, α and Adam's moments."""
        return {**self.initialization(), **optimizer_to_tensors(self._optimizer, self._named_learned())}

    def to_meta(self) -> dict[str, Any]:
        """Return the settings, shapes and counts that belong to the tensors, as JSON values."""
        return learner_meta("meta-sgd", self.config, self.num_updates, shapes=self.shapes)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, device: torch.device | str = "cpu"
    ) -> MetaSGD:
        """Restore the learner that :meth:`to_tensors` and :meth:`to_meta` saved."""
        generator = torch.Generator().manual_seed(0)
        learner = cls(*shapes_and_config(meta, MetaSGDConfig), generator=generator, device=device)
        load_state(tensors, learner._named_learned(), optimizer=learner._optimizer)
        learner.num_updates = int(meta["num_updates"])
        return learner

    def _named_learned(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.network.named_parameters()
        yield from ((f"rates.{name}", rate) for name, rate in self.rates.items())
