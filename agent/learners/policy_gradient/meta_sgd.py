"""Meta-SGD over policies (Li, Zhou, Chen & Li 2017, arXiv:1707.09835, algorithm 2).

Inner, task m:  φ_m = θ + α ∘ ∇_θ J(θ; D_m),   D_m = episodes of task m by π_θ
Outer:          (θ, α) ← (θ, α) + β ∇_(θ,α) (1/M) Σ_m J(φ_m; D'_m),   D'_m = episodes of task m by π_φm

J is the surrogate of ``adaptation``. α has the shape of θ and is learned together with θ. The signs and sizes of its
entries determine the direction and length of the step. If all entries of α are equal and fixed, this is MAML over
policies.

Departures:

- those of MAML over policies (see ``maml``): ProMP's outer steps, a clipped gradient;
- more than one inner step may be taken;
- α may have its own rate.

Shapes: M tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agent.learners.adam import Adam
from agent.learners.gradient.functional import uniform_like
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
class MetaSGDPolicyConfig:
    """Settings of Meta-SGD over policies, with the papers' symbols.

    Attributes:
        initial_rates: range from which the initial entries of α are drawn uniformly.
        learns_rates: whether α is learned; if False, α keeps its initial values.
        max_inner_norm: norm to which a task's inner gradient is clipped; None does not clip.
        num_inner_steps: inner steps in training.
        num_adapt_steps: inner steps in ``adapt``; None takes as many as in training.
        outer_lr: β, Adam's rate for θ.
        rates_lr: Adam's rate for α; None takes β.
        final_outer_lr_scale: the outer rates after ``decay_updates``, as a share of their initial values.
        decay_updates: updates over which the rates fall; None keeps them constant.
        num_outer_steps: steps of Adam on the rounds of one update.
        clip: ε, the largest distance of the adapted policy's probability ratio from 1 that is rewarded.
        divergence_weight: η, weight of the divergence from the policies that played the inner rounds (ProMP's 5e-4); 0
            omits it.
        max_gradient_norm: norm to which the outer gradient is clipped; None does not clip.
        round: settings of a round of episodes.
        policy: settings of the policy that is adapted.
    """

    initial_rates: tuple[float, float] = (0.05, 0.15)
    learns_rates: bool = True
    max_inner_norm: float | None = 1.0
    num_inner_steps: int = 3
    num_adapt_steps: int | None = None
    outer_lr: float = 6e-3
    rates_lr: float | None = 2e-3
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


class MetaSGDPolicy:
    """The Meta-SGD learner of policies: ``policy`` holds θ, ``rates`` holds α.

    Args:
        spaces: the family's spaces.
        config: settings.
        generator: the source of the initial θ and α, and of the seed of the learner's own generator, which draws
            training actions.
        device: device of θ and α.
    """

    def __init__(
        self,
        spaces: SpacePair,
        config: MetaSGDPolicyConfig,
        *,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        self.spaces = spaces
        self.config = config
        self.num_updates = 0
        self.policy = TaskPolicy(spaces, config.policy, generator=generator).to(device)
        self._generator = generator_on("cpu", generator)
        self.rates = {
            name: nn.Parameter(uniform_like(theta, config.initial_rates, generator), requires_grad=config.learns_rates)
            for name, theta in self.policy.named_parameters()
        }
        rates_lr = config.outer_lr if config.rates_lr is None else config.rates_lr
        self._optimizer = Adam(
            [
                {"params": list(self.policy.parameters()), "lr": config.outer_lr},
                {"params": list(self.rates.values()), "lr": rates_lr},
            ],
            fused=True,
        )

    def update(self, tasks: TaskBatch, *, first_task: int) -> dict[str, float]:
        """Play rounds of episodes and take ``num_outer_steps`` steps on them (algorithm 2)."""
        return update_on_tasks(self, tasks, first_task=first_task, optimizer=self._optimizer, source=self._generator)

    def outer_loss(self, rounds: list[Experience]) -> Float[Tensor, ""]:
        """Return -(1/M) Σ_m J(φ_m; D'_m), clipped, plus the divergences; differentiable in θ and α.

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
        """Return φ_m after one more step, differentiable in the parameters and α."""
        return inner_step(self.policy, parameters, experience, rates=self.rates, max_norm=self.config.max_inner_norm)

    def initialization(self) -> dict[str, Tensor]:
        """Return θ and α."""
        return with_prefix("parameters", dict(self._named_learned()))

    def to_tensors(self) -> dict[str, Tensor]:
        """Return θ, α, Adam's moments and the random state of the actions."""
        moments = optimizer_to_tensors(self._optimizer, self._named_learned())
        return {**self.initialization(), **moments, RANDOM_STATE: self._generator.get_state()}

    def to_meta(self) -> dict[str, Any]:
        """Return the settings, spaces and counts that belong to the tensors, as JSON values."""
        return learner_meta("meta-sgd-policy", self.config, self.num_updates, spaces=self.spaces)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> MetaSGDPolicy:
        """Restore the learner that :meth:`to_tensors` and :meth:`to_meta` saved."""
        learner = cls(*spaces_and_config(meta, MetaSGDPolicyConfig), generator=torch.Generator().manual_seed(0))
        load_state(tensors, learner._named_learned(), optimizer=learner._optimizer, generator=learner._generator)
        learner.num_updates = int(meta["num_updates"])
        return learner

    def _named_learned(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.policy.named_parameters()
        yield from ((f"rates.{name}", rate) for name, rate in self.rates.items())
