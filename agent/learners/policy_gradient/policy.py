"""The policy that is adapted: a perceptron over observations, run with one set of parameters a task.

Discrete choices are drawn from a softmax of its outputs; continuous actions from a Gaussian about them, whose log
standard deviation is a parameter of its own and is adapted like any other.

Shapes: B observations, M tasks, R rows a task, S steps of a task, D observation width, W encoded width, K slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name the field knows

from agent.learners.networks import MLP
from agent.learners.state import under_prefix
from agent.rl2.distributions import ActionDistribution, num_slots
from envs.spaces import ActionKind, ObservationKind, SpacePair

BODY = "body"
LOG_STD = "log_std"
MIN_LOG_STD, MAX_LOG_STD = -3.0, 1.0


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Which policy stands between an observation and an action.

    Attributes:
        hidden_sizes: widths of the perceptron's hidden layers.
        initial_output_scale: what the last layer's first weights are multiplied by: a small one makes first actions
            depend little on what is observed.
        initial_log_std: log standard deviation of continuous actions at the start; [-1, 1] spans their bounds.
    """

    hidden_sizes: tuple[int, ...] = (32, 32)
    initial_output_scale: float = 0.1
    initial_log_std: float = -0.5

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {**asdict(self), "hidden_sizes": list(self.hidden_sizes)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PolicyConfig:
        """The settings that :meth:`to_json` wrote."""
        return cls(**{**values, "hidden_sizes": tuple(values["hidden_sizes"])})


class TaskPolicy(nn.Module):
    """π(a | s; θ).

    Args:
        spaces: what is observed and chosen.
        config: its form.
        generator: draws θ.
    """

    def __init__(self, spaces: SpacePair, config: PolicyConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.spaces = spaces
        width, slots = spaces.observation.size, num_slots(spaces.action)
        self.body = MLP((width,), slots, hidden_sizes=config.hidden_sizes, generator=generator)
        with torch.no_grad():
            dict(self.body.named_parameters())[f"weight_{self.body.num_layers - 1}"].mul_(config.initial_output_scale)
        if spaces.action.kind is ActionKind.CONTINUOUS:
            self.log_std = nn.Parameter(torch.full((slots,), config.initial_log_std))

    def encode(self, observation: Float[Tensor, "*N D"]) -> Float[Tensor, "*N W"]:
        """What the perceptron reads: one of n for a discrete observation, a vector as it is."""
        if self.spaces.observation.kind is ObservationKind.DISCRETE:
            return F.one_hot(observation.squeeze(-1).long(), self.spaces.observation.size).to(observation.dtype)
        return observation

    def distribution(self, parameters: Mapping[str, Tensor], encoded: Float[Tensor, "M S W"]) -> ActionDistribution:
        """π(· | s) of every step, each task by its own parameters.

        Args:
            parameters: name → [M, *shape]; [1, *shape] is shared by all tasks.
            encoded: what :meth:`encode` made of the observations.
        """
        scores = self.body.forward_tasks(under_prefix(BODY, parameters), encoded)
        log_std = parameters.get(LOG_STD)
        if log_std is not None:
            log_std = log_std.clamp(MIN_LOG_STD, MAX_LOG_STD).unsqueeze(1)
        return ActionDistribution(action=self.spaces.action, scores=scores, log_std=log_std)

    def shared_parameters(self) -> dict[str, Tensor]:
        """θ as [1, *shape]: shared by all tasks until they are adapted."""
        return {name: parameter.unsqueeze(0) for name, parameter in self.named_parameters()}


@dataclass(frozen=True, kw_only=True)
class AdaptedPolicies:
    """What a learner made of M tasks: one policy a task; no part of it changes when the learner learns on.

    Attributes:
        policy: π.
        parameters: φ, detached, [M, *shape] by name; [1, *shape] where all tasks share it.
    """

    policy: TaskPolicy
    parameters: Mapping[str, Tensor]

    @classmethod
    def unadapted(cls, policy: TaskPolicy) -> AdaptedPolicies:
        """π_θ for every task, a copy of the policy's parameters as they are."""
        theta = {name: parameter.detach().clone() for name, parameter in policy.shared_parameters().items()}
        return cls(policy=policy, parameters=theta)

    @torch.no_grad()
    def act(
        self, observation: Float[Tensor, "M R D"], *, generator: torch.Generator, is_greedy: bool = False
    ) -> Shaped[Tensor, "M R ..."]:
        """Choose an action in R rows of each task.

        Args:
            observation: what each row observes.
            generator: draws the actions.
            is_greedy: take the most likely action instead of drawing one.

        Returns:
            [M, R] int64, [M, R, n] int64 or [M, R, n] float32, by the action's kind.
        """
        distribution = self.policy.distribution(self.parameters, self.policy.encode(observation))
        return distribution.mode() if is_greedy else distribution.sample(generator)

    def of_task(self, task: int) -> AdaptedPolicies:
        """The policy of one task alone."""
        own = {name: phi[min(task, len(phi) - 1)].unsqueeze(0) for name, phi in self.parameters.items()}
        return AdaptedPolicies(policy=self.policy, parameters=own)
