"""Reptile (Nichol, Achiam & Schulman 2018, arXiv:1803.02999).

Inner, task m:  φ_m = k steps of SGD or Adam on minibatches of the task's examples, from θ
Outer:          θ ← θ + ε (1/M) Σ_m (φ_m - θ)                                                  (algorithms 1 and 2)

M = 1 is the serial form, M > 1 the batched one; ε falls linearly to 0. No gradient goes through the inner steps, and no
query set is needed. In training a task's support and query examples therefore form one set, from which minibatches are
drawn.

As in the authors' code:

- The inner Adam has β₁ = 0 and keeps its second moments from task to task. Departure: tasks run in parallel here, so
  the mean of the moments over the M tasks is kept.
- A minibatch is a run of consecutive examples of a shuffled set.
- Transduction in adapting (all queries of a task are normalised together) is a setting.

Shapes: M tasks, S support examples, Q queries, E = S + Q examples, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from agent.learners.gradient.functional import (
    AdaptedNetwork,
    Parameters,
    accuracy,
    linear_decay,
    loss_gradient,
    stacked,
    task_loss,
)
from agent.learners.gradient.networks import NetworkConfig, build_network
from agent.learners.state import RANDOM_STATE, learner_meta, load_state, shapes_and_config, under_prefix, with_prefix
from envs.few_shot.tasks import FewShotBatch, FewShotShapes

ADAM_BETA2 = 0.999
ADAM_EPSILON = 1e-8


class InnerOptimizer(StrEnum):
    """An optimiser of the inner steps."""

    SGD = "sgd"
    ADAM = "adam"
    """With β₁ = 0: no momentum is carried from one task to the next."""


@dataclass(frozen=True, kw_only=True)
class ReptileConfig:
    """Settings of Reptile, with the paper's symbols.

    Attributes:
        inner_optimizer: SGD or Adam.
        inner_lr: α, the rate of the inner steps.
        num_inner_steps: k, inner steps in training.
        inner_batch_size: examples in a minibatch of training; None uses all of them in every step.
        num_adapt_steps: inner steps in ``adapt``.
        adapt_batch_size: examples in a minibatch of ``adapt``; None uses the whole support set.
        is_transductive: whether ``adapt``'s predictor normalises all queries of a task together.
        outer_lr: ε at the start.
        final_outer_lr_scale: the rate after ``decay_updates``, as a share of the initial ε.
        decay_updates: outer steps over which ε falls; None keeps it constant.
        network: the function that is adapted.
    """

    inner_optimizer: InnerOptimizer = InnerOptimizer.ADAM
    inner_lr: float = 0.01
    num_inner_steps: int = 5
    inner_batch_size: int | None = 10
    num_adapt_steps: int = 32
    adapt_batch_size: int | None = None
    is_transductive: bool = True
    outer_lr: float = 0.1
    final_outer_lr_scale: float = 0.0
    decay_updates: int | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)


class Reptile:
    """The Reptile learner: ``network`` holds θ.

    Args:
        shapes: shapes of the family's tasks.
        config: settings.
        generator: the source of the initial θ, and of the seed of the learner's own generator, which draws minibatches.
        device: device of θ.
    """

    def __init__(
        self,
        shapes: FewShotShapes,
        config: ReptileConfig,
        *,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        self.shapes = shapes
        self.config = config
        self.num_updates = 0
        self.network = build_network(shapes, config.network, generator=generator).to(device)
        self._loss = task_loss(is_classification=shapes.is_classification)
        self._generator = torch.Generator()
        self._generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        self._moments = {name: torch.zeros_like(theta) for name, theta in self.network.named_parameters()}
        self._num_inner_steps = 0

    @torch.no_grad()
    def update(self, batch: FewShotBatch) -> dict[str, float]:
        """Take one outer step on M tasks at once (algorithm 2; with M = 1, algorithm 1)."""
        x = torch.cat([batch.support_x, batch.query_x], 1)
        y = torch.cat([batch.support_y, batch.query_y], 1)
        before = stacked(self.network)
        adapted, moments = self._inner_steps(
            before,
            x,
            y,
            num_steps=self.config.num_inner_steps,
            batch_size=self.config.inner_batch_size,
            generator=self._generator,
        )
        epsilon = linear_decay(
            self.config.outer_lr,
            final_scale=self.config.final_outer_lr_scale,
            decay_updates=self.config.decay_updates,
            num_updates=self.num_updates,
        )
        outputs = self.network.forward_tasks(adapted, x)
        metrics = {
            "loss": self._loss(self.network.forward_tasks(before, x), y).mean().item(),
            "adapted_loss": self._loss(outputs, y).mean().item(),
        }
        if self.shapes.is_classification:
            metrics["accuracy"] = accuracy(outputs, y)
        for name, theta in self.network.named_parameters():
            theta.lerp_(adapted[name].mean(0), epsilon)
            self._moments[name] = moments[name].mean(0)
        self._num_inner_steps += self.config.num_inner_steps
        self.num_updates += 1
        return metrics

    @torch.no_grad()
    def adapt(self, support_x: Float[Tensor, "M S *X"], support_y: Shaped[Tensor, "M S *D"]) -> AdaptedNetwork:
        """Return a predictor with φ_m of each support set; its minibatches are the same every time."""
        adapted, _ = self._inner_steps(
            {name: theta.clone() for name, theta in stacked(self.network).items()},
            support_x,
            support_y,
            num_steps=self.config.num_adapt_steps,
            batch_size=self.config.adapt_batch_size,
            generator=torch.Generator().manual_seed(0),
        )
        return AdaptedNetwork(
            network=self.network,
            parameters=adapted,
            support_x=support_x,
            is_transductive=self.config.is_transductive,
        )

    def _inner_steps(
        self,
        parameters: Parameters,
        x: Tensor,
        y: Tensor,
        *,
        num_steps: int,
        batch_size: int | None,
        generator: torch.Generator,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return φ_m after ``num_steps`` steps from θ on [M, E, …] examples, and Adam's second moments after them."""
        num_tasks = len(x)
        adapted = {name: theta.expand(num_tasks, *theta.shape[1:]) for name, theta in parameters.items()}
        moments = {name: v.expand(num_tasks, *v.shape) for name, v in self._moments.items()}
        picks = minibatch_picks(x.shape[1], num_steps, batch_size, generator)
        for step, pick in enumerate(picks):
            examples = (x, y) if pick is None else (x[:, pick], y[:, pick])
            gradient = loss_gradient(self.network, adapted, *examples, self._loss)
            if self.config.inner_optimizer is InnerOptimizer.SGD:
                adapted = {
                    name: torch.sub(adapted[name], g, alpha=self.config.inner_lr) for name, g in gradient.items()
                }
                continue
            # Adam with β₁ = 0:  v ← β₂ v + (1 - β₂) g²,  φ ← φ - α g / (√(v / (1 - β₂ᵗ)) + ε)
            moments = {name: torch.lerp(moments[name], g * g, 1.0 - ADAM_BETA2) for name, g in gradient.items()}
            correction = 1.0 - ADAM_BETA2 ** (self._num_inner_steps + step + 1)
            adapted = {
                name: adapted[name] - self.config.inner_lr * g / ((moments[name] / correction).sqrt() + ADAM_EPSILON)
                for name, g in gradient.items()
            }
        return adapted, moments

    def initialization(self) -> dict[str, Tensor]:
        """Return θ, and the initial second moments of the inner Adam."""
        tensors = with_prefix("parameters", dict(self.network.named_parameters()))
        if self.config.inner_optimizer is InnerOptimizer.ADAM:
            tensors |= with_prefix("inner_moments", self._moments)
        return tensors

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the initialization and the random state of the minibatches."""
        return {**self.initialization(), RANDOM_STATE: self._generator.get_state()}

    def to_meta(self) -> dict[str, Any]:
        """Return the settings, shapes and counts that belong to the tensors, as JSON values."""
        meta = learner_meta("reptile", self.config, self.num_updates, shapes=self.shapes)
        return {**meta, "num_inner_steps": self._num_inner_steps}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, device: torch.device | str = "cpu"
    ) -> Reptile:
        """Restore the learner that :meth:`to_tensors` and :meth:`to_meta` saved."""
        generator = torch.Generator().manual_seed(0)
        learner = cls(*shapes_and_config(meta, ReptileConfig), generator=generator, device=device)
        load_state(tensors, learner.network.named_parameters(), generator=learner._generator)
        learner._moments |= {name: v.clone() for name, v in under_prefix("inner_moments", tensors).items()}
        learner.num_updates = int(meta["num_updates"])
        learner._num_inner_steps = int(meta["num_inner_steps"])
        return learner


def minibatch_picks(
    num_examples: int, num_steps: int, batch_size: int | None, generator: torch.Generator
) -> list[Tensor | None]:
    """Return the examples of each inner step: the set is shuffled, traversed, and shuffled again.

    Args:
        num_examples: E.
        num_steps: k.
        batch_size: examples per step; None, or a size of E or more, takes all examples, which the result marks by None.
        generator: the source of the shuffles.
    """
    if batch_size is None or batch_size >= num_examples:
        return [None] * num_steps
    num_passes = -(-num_steps * batch_size // num_examples)
    order = torch.cat([torch.randperm(num_examples, generator=generator) for _ in range(num_passes)])
    return [order[step * batch_size : (step + 1) * batch_size] for step in range(num_steps)]
