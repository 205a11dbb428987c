"""The inner and the outer loop that the learners of policies share.

Each learner is read from its own module; here is what they do alike: play the rounds of their inner steps, adapt to
tasks, and take the outer steps of ProMP on the rounds that were played.

Shapes: M tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from agent.learners.gradient.functional import OuterStepConfig, take_outer_step
from agent.learners.policy_gradient.adaptation import (
    Adaptation,
    Experience,
    Rates,
    RoundConfig,
    generator_on,
    inner_step,
    play_and_adapt,
)
from agent.learners.policy_gradient.episodes import EpisodeBatch, Play
from agent.learners.policy_gradient.policy import AdaptedPolicies, TaskPolicy
from envs.family import Split
from envs.task_batch import TaskBatch


@runtime_checkable
class InnerConfig(Protocol):
    """The settings of a learner's inner steps."""

    @property
    def max_inner_norm(self) -> float | None:
        """The norm to which a task's inner gradient is clipped; None does not clip."""
        ...

    @property
    def num_inner_steps(self) -> int:
        """The number of inner steps in training."""
        ...

    @property
    def steps_to_adapt(self) -> int:
        """The number of inner steps in adapting."""
        ...

    @property
    def round(self) -> RoundConfig:
        """The settings of a round of episodes."""
        ...


@runtime_checkable
class OuterConfig(OuterStepConfig, Protocol):
    """The settings of several outer steps by Adam on the rounds of one update."""

    @property
    def num_outer_steps(self) -> int:
        """The number of steps on the rounds of one update."""
        ...


@runtime_checkable
class InnerAndOuterConfig(InnerConfig, OuterConfig, Protocol):
    """The settings of a learner with inner steps and outer steps by Adam."""


@runtime_checkable
class AdaptingLearner(Protocol):
    """The part of a learner that its inner steps use: the policy π_θ, the rates α and the settings."""

    @property
    def policy(self) -> TaskPolicy:
        """π, which holds θ."""
        ...

    @property
    def rates(self) -> Rates:
        """α."""
        ...

    @property
    def config(self) -> InnerConfig:
        """The settings."""
        ...


@runtime_checkable
class OuterLearner(AdaptingLearner, Protocol):
    """The part of a learner that its outer steps use."""

    num_updates: int

    @property
    def config(self) -> InnerAndOuterConfig:
        """The settings."""
        ...

    def outer_loss(self, rounds: list[Experience]) -> Float[Tensor, ""]:
        """Return the loss of the rounds of one update, differentiable in everything that is learned."""
        ...


def episodes_to_adapt(config: InnerConfig) -> int:
    """Return the number of episodes of adapting to a task: a round per inner step, and one of the adapted policy."""
    return (config.steps_to_adapt + 1) * config.round.num_episodes


def adapt(
    learner: AdaptingLearner,
    tasks: TaskBatch,
    *,
    first_task: int,
    split: Split,
    generator: torch.Generator,
    num_steps: int | None = None,
) -> AdaptedPolicies:
    """Alternate between playing a round of episodes and a step on it, and return φ_m.

    The learner stays bit for bit the same.

    Args:
        learner: the learner; its policy is where adaptation starts.
        tasks: M tasks.
        first_task: index of the first task in its split.
        split: training or held-out tasks.
        generator: source of the actions' noise.
        num_steps: number of rounds; None takes the learner's own number.
    """
    steps = learner.config.steps_to_adapt if num_steps is None else num_steps
    play = Play(tasks, first_task=first_task, split=split, num_episodes=learner.config.round.num_episodes)
    adapted = _played(learner, play, num_steps=steps, has_last_round=False, generator=generator)
    return AdaptedPolicies(policy=learner.policy, parameters=adapted.parameters)


@torch.no_grad()
def adapt_to(
    learner: AdaptingLearner, episodes: EpisodeBatch, policies: AdaptedPolicies | None = None
) -> AdaptedPolicies:
    """Take one inner step on episodes already played; the learner stays bit for bit the same.

    Args:
        learner: the learner.
        episodes: a round of M tasks.
        policies: the policies that played it; None for the learner's own, unadapted policy.
    """
    adapted = inner_step(
        learner.policy,
        learner.policy.shared_parameters() if policies is None else policies.parameters,
        Experience.of(episodes, learner.config.round),
        rates=learner.rates,
        max_norm=learner.config.max_inner_norm,
    )
    return AdaptedPolicies(policy=learner.policy, parameters=adapted)


def returns_of_adapting(
    learner: AdaptingLearner, play: Play, *, generator: torch.Generator
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """Return the mean return of an episode in each task's first round, and after the learner's own number of steps.

    Args:
        learner: the learner; it stays bit for bit the same.
        play: M tasks.
        generator: source of the actions' noise.
    """
    policies = AdaptedPolicies.unadapted(learner.policy)
    episodes = play.round(policies.policy, policies.parameters, generator=generator)
    before = episodes.mean_return
    for _ in range(learner.config.steps_to_adapt):
        policies = adapt_to(learner, episodes, policies)
        episodes = play.round(policies.policy, policies.parameters, generator=generator)
    return before, episodes.mean_return


def play_training_tasks(
    learner: AdaptingLearner, tasks: TaskBatch, *, first_task: int, has_last_round: bool, source: torch.Generator
) -> Adaptation:
    """Play the rounds of one outer step: one per inner step, and on request one of the adapted policies.

    Args:
        learner: the learner.
        tasks: M training tasks.
        first_task: index of the first of them.
        has_last_round: whether φ plays a round at the end.
        source: the CPU generator that seeds the actions' noise.
    """
    config = learner.config
    play = Play(tasks, first_task=first_task, split=Split.TRAINING, num_episodes=config.round.num_episodes)
    generator = generator_on(tasks.device, source)
    return _played(learner, play, num_steps=config.num_inner_steps, has_last_round=has_last_round, generator=generator)


def update_on_tasks(
    learner: OuterLearner,
    tasks: TaskBatch,
    *,
    first_task: int,
    optimizer: torch.optim.Optimizer,
    source: torch.Generator,
) -> dict[str, float]:
    """Play the rounds of one update, take the outer steps on them, count the update and return its metrics.

    Args:
        learner: the learner, which is changed.
        tasks: M training tasks.
        first_task: index of the first of them.
        optimizer: the optimiser of everything that is learned.
        source: the CPU generator that seeds the actions' noise.
    """
    played = play_training_tasks(learner, tasks, first_task=first_task, has_last_round=True, source=source)
    loss = take_outer_steps(
        optimizer,
        lambda: learner.outer_loss(played.rounds),
        config=learner.config,
        num_updates=learner.num_updates,
    )
    learner.num_updates += 1
    return {"loss": loss, "return": played.mean_returns[0], "adapted_return": played.mean_returns[-1]}


def take_outer_steps(
    optimizer: torch.optim.Optimizer, loss_of: Callable[[], Tensor], *, config: OuterConfig, num_updates: int
) -> float:
    """Take steps down the gradient of a loss that is recomputed for each step.

    Returns the loss before the last step.

    Args:
        optimizer: the optimiser of everything that is learned.
        loss_of: a function that computes the loss.
        config: settings of the steps.
        num_updates: updates taken so far, from which the rates follow.
    """
    loss = torch.zeros(())
    for _ in range(config.num_outer_steps):
        loss = loss_of()
        take_outer_step(optimizer, loss, config=config, num_updates=num_updates)
    return loss.item()


def _played(
    learner: AdaptingLearner, play: Play, *, num_steps: int, has_last_round: bool, generator: torch.Generator
) -> Adaptation:
    return play_and_adapt(
        learner.policy,
        play,
        config=learner.config.round,
        rates=learner.rates,
        max_norm=learner.config.max_inner_norm,
        num_steps=num_steps,
        has_last_round=has_last_round,
        generator=generator,
    )
