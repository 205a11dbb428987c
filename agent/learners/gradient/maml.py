"""MAML: model-agnostic meta-learning (Finn, Abbeel & Levine 2017, arXiv:1703.03400).

Inner, task m:  φ_m = θ - α ∇_θ L(θ; support_m), repeated ``num_inner_steps`` times
Outer:          θ ← θ - β ∇_θ (1/M) Σ_m L(φ_m; query_m)                                     (algorithm 2)

The outer gradient goes through the inner steps, so it contains second derivatives of L. The first-order form (FOMAML,
section 5.2) omits them: it takes ∂φ_m/∂θ as the identity.

Departures, all off by default:

- the number of inner steps may differ between adapting and training;
- the outer rate may fall linearly;
- the outer gradient may be clipped.

Shapes: M tasks, S support examples, Q queries, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from agent.learners.adam import Adam
from agent.learners.gradient.functional import (
    AdaptedNetwork,
    accuracy_metric,
    adapt_by_gradient,
    stacked,
    take_outer_step,
    task_loss,
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
class MAMLConfig:
    """Settings of MAML, with the paper's symbols.

    Attributes:
        inner_lr: α, the rate of the inner steps.
        num_inner_steps: inner steps in training.
        num_adapt_steps: inner steps in ``adapt``; None takes as many as in training.
        is_first_order: omit the second derivatives (FOMAML).
        outer_lr: β, Adam's rate of the outer steps.
        final_outer_lr_scale: the rate after ``decay_updates``, as a share of β.
        decay_updates: outer steps over which β falls; None keeps it constant.
        max_gradient_norm: norm to which the outer gradient is clipped; None does not clip.
        network: the function that is adapted.
    """

    inner_lr: float = 0.01
    num_inner_steps: int = 1
    num_adapt_steps: int | None = None
    is_first_order: bool = False
    outer_lr: float = 1e-3
    final_outer_lr_scale: float = 0.0
    decay_updates: int | None = None
    max_gradient_norm: float | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)

    @property
    def steps_to_adapt(self) -> int:
        """The number of inner steps in ``adapt``."""
        return self.num_inner_steps if self.num_adapt_steps is None else self.num_adapt_steps


class MAML:
    """The MAML learner: ``network`` holds θ.

    Args:
        shapes: shapes of the family's tasks.
        config: settings.
        generator: the source of the initial θ.
        device: device of θ.
    """

    def __init__(
        self,
        shapes: FewShotShapes,
        config: MAMLConfig,
        *,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        self.shapes = shapes
        self.config = config
        self.num_updates = 0
        self.network = build_network(shapes, config.network, generator=generator).to(device)
        self._loss = task_loss(is_classification=shapes.is_classification)
        self._optimizer = Adam(self.network.parameters(), lr=config.outer_lr, fused=True)

    def update(self, batch: FewShotBatch) -> dict[str, float]:
        """Take one outer step (algorithm 2, lines 3 to 10)."""
        loss, outputs = self.outer_loss(batch)
        take_outer_step(self._optimizer, loss, config=self.config, num_updates=self.num_updates)
        self.num_updates += 1
        is_classification = self.shapes.is_classification
        return {"loss": loss.item(), **accuracy_metric(outputs, batch.query_y, is_classification=is_classification)}

    def outer_loss(self, batch: FewShotBatch) -> tuple[Float[Tensor, ""], Float[Tensor, "M Q O"]]:
        """Return (1/M) Σ_m L(φ_m; query_m), differentiable in θ, and the adapted outputs on the queries."""
        parameters = stacked(self.network)
        num_steps = self.config.num_inner_steps
        with torch.set_grad_enabled(not self.config.is_first_order):
            adapted = self._adapt(parameters, batch.support_x, batch.support_y, num_steps)
        if self.config.is_first_order:
            # θ + (φ - θ) with a constant bracket: the value is φ, and the derivative with respect to θ is the identity.
            adapted = {name: theta + (adapted[name] - theta).detach() for name, theta in parameters.items()}
        outputs = self.network.forward_tasks(adapted, batch.query_x)
        return self._loss(outputs, batch.query_y).mean(), outputs

    @torch.no_grad()
    def adapt(self, support_x: Float[Tensor, "M S *X"], support_y: Shaped[Tensor, "M S *D"]) -> AdaptedNetwork:
        """Return a predictor with φ_m of each support set."""
        parameters = {name: theta.clone() for name, theta in stacked(self.network).items()}
        adapted = self._adapt(parameters, support_x, support_y, self.config.steps_to_adapt)
        return AdaptedNetwork(network=self.network, parameters=adapted, support_x=support_x)

    def _adapt(self, parameters: Mapping[str, Tensor], x: Tensor, y: Tensor, num_steps: int) -> dict[str, Tensor]:
        return adapt_by_gradient(
            self.network, parameters, x, y, loss=self._loss, rates=self.config.inner_lr, num_steps=num_steps
        )

    def initialization(self) -> dict[str, Tensor]:
        """Return θ."""
        return with_prefix("parameters", dict(self.network.named_parameters()))

    def to_tensors(self) -> dict[str, Tensor]:
        """Return θ and Adam's moments."""
        return {**self.initialization(), **optimizer_to_tensors(self._optimizer, self.network.named_parameters())}

    def to_meta(self) -> dict[str, Any]:
        """Return the settings, shapes and counts that belong to the tensors, as JSON values."""
        return learner_meta("maml", self.config, self.num_updates, shapes=self.shapes)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, device: torch.device | str = "cpu"
    ) -> MAML:
        """Restore the learner that :meth:`to_tensors` and :meth:`to_meta` saved."""
        generator = torch.Generator().manual_seed(0)
        learner = cls(*shapes_and_config(meta, MAMLConfig), generator=generator, device=device)
        load_state(tensors, learner.network.named_parameters(), optimizer=learner._optimizer)
        learner.num_updates = int(meta["num_updates"])
        return learner
