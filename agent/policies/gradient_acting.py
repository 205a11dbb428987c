"""Acting with a policy that adapts by policy gradient: a step of the learner's inner loop after each round of episodes.

Shapes as in :mod:`agent.learners.policy_gradient.policy`, with M = 1 task and R = 1 row.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from agent.learners.policy_gradient.episodes import RoundRecord
from agent.learners.policy_gradient.loops import adapt_to
from agent.learners.policy_gradient.policy import AdaptedPolicies
from agent.learners.policy_gradient.protocol import PolicyLearner
from envs.random_actions import nearest_allowed
from envs.spaces import SpacePair


class GradientPolicy:
    """The initialization of a learner that adapts policies. No trial changes it.

    Args:
        learner: the learner.
    """

    def __init__(self, learner: PolicyLearner) -> None:
        self._learner = learner

    def begin(
        self,
        spaces: SpacePair,
        *,
        episodes_per_trial: int,
        seed: int,
        is_greedy: bool,
        context: bytes | None = None,
    ) -> GradientActor:
        """Begin a trial in a task.

        The learner's own settings decide when it adapts, whatever the planned number of episodes. It has no memory of
        trials, so the context is not used.
        """
        # The learner has one space pair, and its input holds no number of episodes.
        del spaces, episodes_per_trial, context
        return GradientActor(self._learner, generator=torch.Generator().manual_seed(seed), is_greedy=is_greedy)


class GradientActor:
    """One trial of a policy that adapts by policy gradient.

    Args:
        learner: the learner, whose policy is where adaptation starts.
        generator: the source of the actions' noise.
        is_greedy: take the most likely action once all inner steps are taken. Rounds that are learned from are drawn.
    """

    def __init__(self, learner: PolicyLearner, *, generator: torch.Generator, is_greedy: bool) -> None:
        self._learner, self._generator, self._is_greedy = learner, generator, is_greedy
        self._policies = AdaptedPolicies.unadapted(learner.policy)
        self._num_rounds_left = learner.config.steps_to_adapt
        self._round, self._num_ended, self._episode_step = RoundRecord(), 0, 0

    @torch.no_grad()
    def act(
        self, observation: Shaped[Tensor, "1 D"], *, allowed: Bool[Tensor, "1 C"] | None = None
    ) -> Shaped[Tensor, "1 ..."]:
        """Choose an action. One that is not allowed is replaced as it was in training, after it was drawn."""
        policy = self._policies.policy
        encoded = policy.encode(observation).unsqueeze(0)
        distribution = policy.distribution(self._policies.parameters, encoded)
        is_greedy = self._is_greedy and self._num_rounds_left == 0
        action = distribution.mode() if is_greedy else distribution.sample(self._generator)
        self._step = {"observation": encoded, "action": action, "log_prob": distribution.log_prob(action)}
        return action[0] if allowed is None else nearest_allowed(policy.spaces.action, action[0], allowed)

    @torch.no_grad()
    def observe(
        self,
        *,
        reward: Float[Tensor, "1"],
        final_observation: Shaped[Tensor, "1 D"],  # noqa: ARG002  the gradient does not depend on it
        terminated: Bool[Tensor, "1"],
        truncated: Bool[Tensor, "1"],
    ) -> None:
        """Record the outcome of the last action; take an inner step if it ended a round."""
        if self._num_rounds_left == 0:
            return
        is_end = terminated | truncated
        self._round.add(
            **self._step,
            reward=reward.unsqueeze(0),
            is_end=is_end.unsqueeze(0),
            is_valid=torch.ones(1, 1, dtype=torch.bool),
            episode_step=torch.tensor([[self._episode_step]]),
        )
        self._episode_step = 0 if is_end else self._episode_step + 1
        self._num_ended += int(is_end)
        if self._num_ended == self._learner.config.round.num_episodes:
            self._policies = adapt_to(self._learner, self._round.batch(), self._policies)
            self._num_rounds_left -= 1
            self._round, self._num_ended = RoundRecord(), 0
