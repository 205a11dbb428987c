"""Reptile over policies: Nichol, Achiam & Schulman 2018 (arXiv:1803.02999, algorithm 2) with policy gradients.

Inner, task m:  φ_m = k steps θ + α ∇J(θ; D_m), each on new episodes of task m by the current policy
Outer:          θ ← θ + ε (1/M) Σ_m (φ_m - θ)

J is the surrogate of ``adaptation``. No gradient goes through the inner steps. With one inner step the outer step is
the mean policy gradient, so the policy is trained on all tasks jointly. With more steps, the differences between the
gradients of successive rounds move θ to a point that is near the solutions of all tasks. ε may fall linearly.

Departure: the paper has no form for reinforcement learning. This one combines the outer step of the supervised form
with the inner step of the other learners.

Shapes: M tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from agent.learners.gradient.functional import linear_decay
from agent.learners.policy_gradient.adaptation import (
    RoundConfig,
    generator_on,
)
from agent.learners.policy_gradient.loops import play_training_tasks
from agent.learners.policy_gradient.policy import PolicyConfig, TaskPolicy
from agent.learners.state import RANDOM_STATE, learner_meta, load_state, spaces_and_config, with_prefix
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch


@dataclass(frozen=True, kw_only=True)
class ReptilePolicyConfig:
    """Settings of Reptile over policies, with the paper's symbols.

    Attributes:
        inner_lr: α, the rate of the inner steps.
        max_inner_norm: norm to which a task's inner gradient is clipped; None does not clip.
        num_inner_steps: k, inner steps in training, each with a round of episodes.
        num_adapt_steps: inner steps in ``adapt``; None takes as many as in training.
        outer_lr: ε at the start.
        final_outer_lr_scale: the rate after ``decay_updates``, as a share of the initial ε.
        decay_updates: updates over which ε falls; None keeps it constant.
        round: settings of a round of episodes.
        policy: settings of the policy that is adapted.
    """

    inner_lr: float = 0.1
    max_inner_norm: float | None = 1.0
    num_inner_steps: int = 3
    num_adapt_steps: int | None = None
    outer_lr: float = 1.0
    final_outer_lr_scale: float = 0.0
    decay_updates: int | None = None
    round: RoundConfig = field(default_factory=RoundConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)

    @property
    def steps_to_adapt(self) -> int:
        """The number of inner steps in ``adapt``."""
        return self.num_inner_steps if self.num_adapt_steps is None else self.num_adapt_steps


class ReptilePolicy:
    """The Reptile learner of policies: ``policy`` holds θ.

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
        config: ReptilePolicyConfig,
        *,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        self.spaces = spaces
        self.config = config
        self.num_updates = 0
        self.policy = TaskPolicy(spaces, config.policy, generator=generator).to(device)
        self._generator = generator_on("cpu", generator)

    @property
    def rates(self) -> float:
        """α."""
        return self.config.inner_lr

    @torch.no_grad()
    def update(self, tasks: TaskBatch, *, first_task: int) -> dict[str, float]:
        """Take one outer step on M tasks at once (algorithm 2; with M = 1, algorithm 1)."""
        config = self.config
        played = play_training_tasks(self, tasks, first_task=first_task, has_last_round=False, source=self._generator)
        epsilon = linear_decay(
            config.outer_lr,
            final_scale=config.final_outer_lr_scale,
            decay_updates=config.decay_updates,
            num_updates=self.num_updates,
        )
        for name, theta in self.policy.named_parameters():
            theta.lerp_(played.parameters[name].mean(0), epsilon)
        self.num_updates += 1
        return {"return": played.mean_returns[0], "last_return": played.mean_returns[-1]}

    def initialization(self) -> dict[str, Tensor]:
        """Return θ."""
        return with_prefix("parameters", dict(self.policy.named_parameters()))

    def to_tensors(self) -> dict[str, Tensor]:
        """Return θ and the random state of the actions."""
        return {**self.initialization(), RANDOM_STATE: self._generator.get_state()}

    def to_meta(self) -> dict[str, Any]:
        """Return the settings, spaces and counts that belong to the tensors, as JSON values."""
        return learner_meta("reptile-policy", self.config, self.num_updates, spaces=self.spaces)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> ReptilePolicy:
        """Restore the learner that :meth:`to_tensors` and :meth:`to_meta` saved."""
        learner = cls(*spaces_and_config(meta, ReptilePolicyConfig), generator=torch.Generator().manual_seed(0))
        load_state(tensors, learner.policy.named_parameters(), generator=learner._generator)
        learner.num_updates = int(meta["num_updates"])
        return learner
