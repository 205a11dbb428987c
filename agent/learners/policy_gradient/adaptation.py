"""Policy-gradient adaptation, shared by several learners: functions from rounds of episodes to adapted parameters.

M tasks are adapted in parallel. Their parameters are stacked, θ_m for m < M. No task's surrogate depends on another
task's parameters, so the gradient of the summed surrogates contains every task's own gradient.

The surrogate of a round D that was played with the parameters of that time (Rothfuss et al. 2019, arXiv:1810.06784, eq.
10):

    J(θ; D) = E_D[ρ_t A_t],   ρ_t = π_θ(a_t | s_t) / π_D(a_t | s_t)

If θ itself played D, then ρ = 1 and ∇J = E[∇log π A] is the policy gradient of REINFORCE. The expression log π · A has
the same gradient. Unlike it, ρ A also has the right curvature up to terms of low weight:

    ∇²J = E[(∇²log π + ∇log π ∇log πᵀ) A]

This is the low-variance curvature estimator, through which second-order learners differentiate their inner steps.

Shapes: M tasks, R rows, T steps, S = R·T steps of a task, W encoded width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from agent.learners.policy_gradient.advantages import standardised_advantages
from agent.learners.policy_gradient.episodes import EpisodeBatch, Play
from agent.learners.policy_gradient.policy import TaskPolicy

Rates = float | Mapping[str, Tensor]
"""α, one number or one tensor per parameter."""

InnerStep = Callable[[Mapping[str, Tensor], "Experience"], dict[str, Tensor]]
"""A function from θ_m and a round to φ_m, differentiable in everything that is learned."""


@dataclass(frozen=True, kw_only=True)
class RoundConfig:
    """Settings of a round of episodes and its advantages.

    Attributes:
        num_episodes: E, episodes of each task in a round.
        discount: γ.
        gae_lambda: λ; 1 takes the whole return.
    """

    num_episodes: int = 20
    discount: float = 0.99
    gae_lambda: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Experience:
    """The data of a round that a surrogate reads.

    Attributes:
        observation: encoded observations.
        action: [M, S], or [M, S, n].
        log_prob: log π_D(a | s).
        advantage: A.
        weight: 1 over the number of the task's steps; 0 in padding.
    """

    observation: Float[Tensor, "M S W"]
    action: Shaped[Tensor, "M S ..."]
    log_prob: Float[Tensor, "M S"]
    advantage: Float[Tensor, "M S"]
    weight: Float[Tensor, "M S"]

    @classmethod
    def of(cls, episodes: EpisodeBatch, config: RoundConfig) -> Experience:
        """Compute a round's advantages and flatten R rows of T steps into one row of S."""
        advantage = standardised_advantages(episodes, discount=config.discount, gae_lambda=config.gae_lambda)
        is_valid = episodes.is_valid.flatten(1, 2)
        return cls(
            observation=episodes.observation.flatten(1, 2),
            action=episodes.action.flatten(1, 2),
            log_prob=episodes.log_prob.flatten(1, 2),
            advantage=advantage.flatten(1, 2),
            weight=is_valid / is_valid.sum(1, keepdim=True),
        )


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """The rounds that were played while adapting, and the adapted parameters.

    Attributes:
        rounds: the round of each inner step, and if there is a last round, the one that φ played.
        mean_returns: mean return of an episode over tasks, by round.
        parameters: φ, detached.
    """

    rounds: list[Experience]
    mean_returns: list[float]
    parameters: Mapping[str, Tensor]


def generator_on(device: torch.device | str, source: torch.Generator) -> torch.Generator:
    """Create a generator on a device, seeded by the next number of a CPU generator.

    Any machine can restore the state of the CPU generator.
    """
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=source)))


def log_ratio(policy: TaskPolicy, parameters: Mapping[str, Tensor], experience: Experience) -> Float[Tensor, "M S"]:
    """Return log ρ of every step; 0 in padding."""
    log_prob = policy.distribution(parameters, experience.observation).log_prob(experience.action)
    return (log_prob - experience.log_prob).masked_fill(experience.weight == 0.0, 0.0)


def surrogate_loss(policy: TaskPolicy, parameters: Mapping[str, Tensor], experience: Experience) -> Float[Tensor, " M"]:
    """Return -J of each task."""
    ratio = log_ratio(policy, parameters, experience).exp()
    return -(ratio * experience.advantage * experience.weight).sum(1)


def clipped_loss(
    policy: TaskPolicy, parameters: Mapping[str, Tensor], experience: Experience, *, clip: float
) -> Float[Tensor, " M"]:
    """Return -E[min(ρ A, clip(ρ, 1 - ε, 1 + ε) A)] of each task (Schulman et al. 2017, arXiv:1707.06347, eq. 7)."""
    ratio = log_ratio(policy, parameters, experience).exp()
    gain = torch.minimum(ratio * experience.advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * experience.advantage)
    return -(gain * experience.weight).sum(1)


def divergence(policy: TaskPolicy, parameters: Mapping[str, Tensor], experience: Experience) -> Float[Tensor, " M"]:
    """Return KL(π_D ‖ π_θ) of each task, by the unbiased and non-negative estimate E_D[ρ - 1 - log ρ]."""
    log_rho = log_ratio(policy, parameters, experience)
    return ((log_rho.exp() - 1.0 - log_rho) * experience.weight).sum(1)


def inner_step(
    policy: TaskPolicy,
    parameters: Mapping[str, Tensor],
    experience: Experience,
    *,
    rates: Rates,
    max_norm: float | None,
) -> dict[str, Tensor]:
    """Return φ_m = θ_m + α ∘ ∇J(θ_m; D_m), differentiable in θ and α except under ``torch.no_grad()``.

    Args:
        policy: π.
        parameters: θ, [M or 1, *shape] by name.
        experience: D.
        rates: α.
        max_norm: norm to which each task's gradient is clipped; None does not clip.

    Returns:
        Name → [M, *shape].
    """
    num_tasks = len(experience.weight)
    own = {name: theta.expand(num_tasks, *theta.shape[1:]) for name, theta in parameters.items()}
    gradient = torch.func.grad(lambda p: surrogate_loss(policy, p, experience).sum())(own)
    if max_norm is not None:
        gradient = clip_by_task(gradient, max_norm)
    if isinstance(rates, float):
        return {name: torch.sub(own[name], gradient[name], alpha=rates) for name in own}
    return {name: torch.addcmul(own[name], rates[name], gradient[name], value=-1) for name in own}


def clip_by_task(gradient: Mapping[str, Tensor], max_norm: float) -> dict[str, Tensor]:
    """Scale each task's gradient down if its norm over all parameters exceeds ``max_norm``."""
    squares = [g.flatten(1).square().sum(1) for g in gradient.values()]
    norm = (torch.stack(squares).sum(0) + torch.finfo(squares[0].dtype).tiny).sqrt()
    scale = (max_norm / norm).clamp(max=1.0)
    return {name: g * scale.view(-1, *[1] * (g.ndim - 1)) for name, g in gradient.items()}


@torch.no_grad()
def play_and_adapt(
    policy: TaskPolicy,
    play: Play,
    *,
    config: RoundConfig,
    rates: Rates,
    max_norm: float | None,
    num_steps: int,
    has_last_round: bool,
    generator: torch.Generator,
) -> Adaptation:
    """Alternate ``num_steps`` times between a round of episodes and an inner step on it, starting from the policy's θ.

    Args:
        policy: π; it is not changed.
        play: M tasks.
        config: settings of a round.
        rates: α.
        max_norm: norm to which each task's gradient is clipped; None does not clip.
        num_steps: inner steps.
        has_last_round: whether φ plays a round at the end.
        generator: source of the actions' noise.
    """
    parameters: dict[str, Tensor] = {name: theta.clone() for name, theta in policy.shared_parameters().items()}
    rounds, mean_returns = [], []
    for step in range(num_steps + has_last_round):
        episodes = play.round(policy, parameters, generator=generator)
        rounds.append(Experience.of(episodes, config))
        mean_returns.append(episodes.mean_return.mean().item())
        if step < num_steps:
            parameters = inner_step(policy, parameters, rounds[-1], rates=rates, max_norm=max_norm)
    return Adaptation(rounds=rounds, mean_returns=mean_returns, parameters=parameters)


def outer_loss(
    policy: TaskPolicy,
    rounds: Sequence[Experience],
    *,
    step: InnerStep,
    clip: float,
    divergence_weight: float,
) -> Float[Tensor, ""]:
    """Return -(1/M) Σ_m J(φ_m; D'_m), clipped, plus ProMP's divergences; φ_m takes a step on each round but the last.

    Args:
        policy: π.
        rounds: one round per inner step, then the round of the adapted policies.
        step: the learner's inner step.
        clip: ε of the last round's surrogate.
        divergence_weight: η; 0 omits the divergences.
    """
    adapted: Mapping[str, Tensor] = policy.shared_parameters()
    penalty = torch.zeros((), device=rounds[0].weight.device, dtype=rounds[0].weight.dtype)
    for experience in rounds[:-1]:
        if divergence_weight > 0.0:
            penalty = penalty + divergence(policy, adapted, experience).mean()
        adapted = step(adapted, experience)
    return clipped_loss(policy, adapted, rounds[-1], clip=clip).mean() + divergence_weight * penalty
