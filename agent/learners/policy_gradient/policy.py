"""The policy that is adapted: a perceptron over observations, run with one set of parameters per task.

Discrete choices are drawn from a softmax of its outputs. Continuous actions are drawn from a Gaussian whose mean is the
output. Its log standard deviation is a separate parameter, which is adapted like the others.

Shapes: B observations, M tasks, R rows a task, S steps of a task, D observation width, W encoded width, K slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (torch's convention)

from agent.learners.distributions import ActionDistribution, num_slots
from agent.learners.gradient.networks import MLP
from agent.learners.observation_bytes import summaries, summary_size
from agent.learners.state import under_prefix
from envs.spaces import ObservationKind, SpacePair

BODY = "body"
LOG_STD = "log_std"
MIN_LOG_STD, MAX_LOG_STD = -3.0, 1.0


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Settings of the policy network.

    Attributes:
        hidden_sizes: widths of the perceptron's hidden layers.
        initial_output_scale: factor of the last layer's initial weights; with a small factor the first actions hardly
            depend on the observation.
        initial_log_std: initial log standard deviation of continuous actions, in units in which [-1, 1] spans their
            bounds.
    """

    hidden_sizes: tuple[int, ...] = (32, 32)
    initial_output_scale: float = 0.1
    initial_log_std: float = -0.5


class TaskPolicy(nn.Module):
    """A policy π(a | s; θ).

    Args:
        spaces: the observation and action spaces.
        config: the settings.
        generator: the source of the initial θ.
    """

    def __init__(self, spaces: SpacePair, config: PolicyConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.spaces = spaces
        has_images = spaces.observation.kind is ObservationKind.IMAGE
        width = summary_size(spaces.observation) if has_images else spaces.observation.size
        slots = num_slots(spaces.action)
        self.body = MLP((width,), slots, hidden_sizes=config.hidden_sizes, generator=generator)
        with torch.no_grad():
            dict(self.body.named_parameters())[f"weight_{self.body.num_layers - 1}"].mul_(config.initial_output_scale)
        if spaces.action.has_numbers:
            self.log_std = nn.Parameter(torch.full((spaces.action.num_numbers,), config.initial_log_std))

    def encode(self, observation: Shaped[Tensor, "*N D"]) -> Float[Tensor, "*N W"]:
        """Return the perceptron's input: an index as a one-hot vector, a vector unchanged, an image as few areas."""
        if self.spaces.observation.kind is ObservationKind.IMAGE:
            return summaries(observation, self.spaces.observation)
        if self.spaces.observation.kind is ObservationKind.DISCRETE:
            return F.one_hot(observation.squeeze(-1).long(), self.spaces.observation.size).to(observation.dtype)
        return observation

    def distribution(self, parameters: Mapping[str, Tensor], encoded: Float[Tensor, "M S W"]) -> ActionDistribution:
        """Return π(· | s) of every step, each task with its own parameters.

        Args:
            parameters: name → [M, *shape]; [1, *shape] is shared by all tasks.
            encoded: the output of :meth:`encode`.
        """
        scores = self.body.forward_tasks(under_prefix(BODY, parameters), encoded)
        log_std = parameters.get(LOG_STD)
        if log_std is not None:
            log_std = log_std.clamp(MIN_LOG_STD, MAX_LOG_STD).unsqueeze(1)
        return ActionDistribution(action=self.spaces.action, scores=scores, log_std=log_std)

    def shared_parameters(self) -> dict[str, Tensor]:
        """Return θ as [1, *shape]: all tasks share it until they are adapted."""
        return {name: parameter.unsqueeze(0) for name, parameter in self.named_parameters()}


@dataclass(frozen=True, kw_only=True)
class AdaptedPolicies:
    """The policies that a learner adapted to M tasks, one per task. Further learning does not change them.

    Attributes:
        policy: π.
        parameters: φ, detached, [M, *shape] by name; [1, *shape] if all tasks share the parameter.
    """

    policy: TaskPolicy
    parameters: Mapping[str, Tensor]

    @classmethod
    def unadapted(cls, policy: TaskPolicy) -> AdaptedPolicies:
        """Return π_θ for every task, with a copy of the policy's current parameters."""
        theta = {name: parameter.detach().clone() for name, parameter in policy.shared_parameters().items()}
        return cls(policy=policy, parameters=theta)

    @torch.no_grad()
    def act(
        self, observation: Shaped[Tensor, "M R D"], *, generator: torch.Generator, is_greedy: bool = False
    ) -> Shaped[Tensor, "M R ..."]:
        """Choose an action in R rows of each task.

        Args:
            observation: the observation of each row.
            generator: source of the actions' noise.
            is_greedy: take the most likely action instead of drawing one.

        Returns:
            [M, R] int64, [M, R, n] int64 or [M, R, n] float32, depending on the action's kind.
        """
        distribution = self.policy.distribution(self.parameters, self.policy.encode(observation))
        return distribution.mode() if is_greedy else distribution.sample(generator)
