"""MAML over policies (Finn, Abbeel & Levine 2017, arXiv:1703.03400, algorithm 3).

Inner, task m:  φ_m = θ + α ∇_θ J(θ; D_m),   D_m = episodes of task m by π_θ, repeated ``num_inner_steps`` times
Outer:          θ ← θ + β ∇_θ (1/M) Σ_m J(φ_m; D'_m),   D'_m = episodes of task m by π_φm

J is the surrogate of ``adaptation``. The outer gradient goes through the inner steps; the first-order form takes
∂φ_m/∂θ as the identity. Without inner steps the learner trains one policy on all tasks jointly.

Departures:

- The paper takes outer steps by a trust region (TRPO). Here they follow ProMP (Rothfuss et al. 2019, arXiv:1810.06784,
  algorithm 1): several steps of Adam on the same rounds. Every outer step recomputes the inner steps from the current
  θ, with ρ relative to the policy that played.
- PPO's clip bounds the change of φ_m. On request, a penalty of weight η on KL(π_played ‖ π_now) bounds the change of
  the policies before it.
- The paper's second derivatives are those of log π · A, here those of ρ A.
- A task's gradient is clipped. Advantages are standardised even near a goal, where an unclipped step would lead far
  away.

Shapes: M tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from agent.learners.adam import Adam
from agent.learners.policy_gradient.adaptation import (
    Experience,
    RoundConfig,
    generator_on,
    inner_step,
    outer_loss,
)
from agent.learners.policy_gradient.loops import update_on_tasks
from agent.learners.policy_gradient.policy import PolicyConfig, TaskPolicy
from agent.learners.state import (
    RANDOM_STATE,
    learner_meta,
    load_state,
    optimizer_to_tensors,
    spaces_and_config,
    with_prefix,
)
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch


@dataclass(frozen=True, kw_only=True)
class MAMLPolicyConfig:
    """Settings of MAML over policies, with the papers' symbols.

    Attributes:
        inner_lr: α, the rate of the inner steps.
        max_inner_norm: norm to which a task's inner gradient is clipped; None does not clip.
        num_inner_steps: inner steps in training; 0 trains one policy on all tasks jointly.
        num_adapt_steps: inner steps in ``adapt``; None takes as many as in training.
        is_first_order: omit the second derivatives.
        outer_lr: β, Adam's rate of the outer steps.
        final_outer_lr_scale: the rate after ``decay_updates``, as a share of β.
        decay_updates: updates over which β falls; None keeps it constant.
        num_outer_steps: steps of Adam on the rounds of one update.
        clip: ε, the largest distance of the adapted policy's probability ratio from 1 that is rewarded.
        divergence_weight: η, weight of the divergence from the policies that played the inner rounds (ProMP's 5e-4); 0
            omits it.
        max_gradient_norm: norm to which the outer gradient is clipped; None does not clip.
        round: settings of a round of episodes.
        policy: settings of the policy that is adapted.
    """

    inner_lr: float = 0.1
    max_inner_norm: float | None = 1.0
    num_inner_steps: int = 3
    num_adapt_steps: int | None = None
    is_first_order: bool = False
    outer_lr: float = 6e-3
    final_outer_lr_scale: float = 0.0
    decay_updates: int | None = None
    num_outer_steps: int = 3
    clip: float = 0.3
    divergence_weight: float = 0.0
    max_gradient_norm: float | None = None
    round: RoundConfig = field(default_factory=RoundConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)

    @property
    def steps_to_adapt(self) -> int:
        """The number of inner steps in ``adapt``."""
        return self.num_inner_steps if self.num_adapt_steps is None else self.num_adapt_steps


class MAMLPolicy:
    """The MAML learner of policies: ``policy`` holds θ.

    Args:
        spaces: the family's spaces.
        config: settings.
        generator: the source of the initial θ, and of the seed of the learner's own generator, which draws training
            actions.
        device: device of θ.
    """

    def __init__(
        self,
        spaces: SpacePair,
        config: MAMLPolicyConfig,
        *,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        self.spaces = spaces
        self.config = config
        self.num_updates = 0
        self.policy = TaskPolicy(spaces, config.policy, generator=generator).to(device)
        self._generator = generator_on("cpu", generator)
        self._optimizer = Adam(self.policy.parameters(), lr=config.outer_lr, fused=True)

    @property
    def rates(self) -> float:
        """α."""
        return self.config.inner_lr

    def update(self, tasks: TaskBatch, *, first_task: int) -> dict[str, float]:
        """Play rounds of episodes and take ``num_outer_steps`` steps on them (algorithm 3, lines 3 to 11)."""
        return update_on_tasks(self, tasks, first_task=first_task, optimizer=self._optimizer, source=self._generator)

    def outer_loss(self, rounds: list[Experience]) -> Float[Tensor, ""]:
        """Return -(1/M) Σ_m J(φ_m; D'_m), clipped, plus the divergences; differentiable in θ.

        Args:
            rounds: one round per inner step, then the round of the adapted policies.
        """
        return outer_loss(
            self.policy,
            rounds,
            step=self._inner_step,
            clip=self.config.clip,
            divergence_weight=self.config.divergence_weight,
        )

    def _inner_step(self, parameters: Mapping[str, Tensor], experience: Experience) -> dict[str, Tensor]:
        """Return φ_m after one more step, differentiable in the parameters.

        The derivative of the first-order form is the identity.
        """
        rates, max_norm = self.rates, self.config.max_inner_norm
        if not self.config.is_first_order:
            return inner_step(self.policy, parameters, experience, rates=rates, max_norm=max_norm)
        with torch.no_grad():
            adapted = inner_step(self.policy, parameters, experience, rates=rates, max_norm=max_norm)
        # θ + (φ - θ) with a constant bracket: the value is φ, and the derivative with respect to θ is the identity.
        return {name: theta + (adapted[name] - theta).detach() for name, theta in parameters.items()}

    def initialization(self) -> dict[str, Tensor]:
        """Return θ."""
        return with_prefix("parameters", dict(self.policy.named_parameters()))

    def to_tensors(self) -> dict[str, Tensor]:
        """Return θ, Adam's moments and the random state of the actions."""
        moments = optimizer_to_tensors(self._optimizer, self.policy.named_parameters())
        return {**self.initialization(), **moments, RANDOM_STATE: self._generator.get_state()}

    def to_meta(self) -> dict[str, Any]:
        """Return the settings, spaces and counts that belong to the tensors, as JSON values."""
        return learner_meta("maml-policy", self.config, self.num_updates, spaces=self.spaces)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> MAMLPolicy:
        """Restore the learner that :meth:`to_tensors` and :meth:`to_meta` saved."""
        learner = cls(*spaces_and_config(meta, MAMLPolicyConfig), generator=torch.Generator().manual_seed(0))
        load_state(
            tensors, learner.policy.named_parameters(), optimizer=learner._optimizer, generator=learner._generator
        )
        learner.num_updates = int(meta["num_updates"])
        return learner
