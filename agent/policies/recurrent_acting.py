"""Acting with a recurrent policy, which adapts through its hidden state and its in-trial memory."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.policy_state import PairConstants
from envs.spaces import SpacePair


class RecurrentPolicy:
    """An RL² policy whose parameters no longer change.

    Args:
        policy: the policy.
    """

    def __init__(self, policy: RL2Policy) -> None:
        self._policy = policy.eval()
        self._constants: dict[str, PairConstants] = {}

    def begin(self, spaces: SpacePair, *, episodes_per_trial: int, seed: int, is_greedy: bool) -> RecurrentActor:
        """Begin a trial in a task of these spaces."""
        if spaces.key not in self._constants:
            with torch.no_grad():
                self._constants[spaces.key] = self._policy.pair(spaces).constants()
        return RecurrentActor(
            self._policy,
            spaces,
            self._constants[spaces.key],
            episodes_per_trial=episodes_per_trial,
            generator=torch.Generator().manual_seed(seed),
            is_greedy=is_greedy,
        )


class RecurrentActor:
    """One trial of an RL² policy.

    Args:
        policy: the policy.
        spaces: the task's spaces.
        constants: the derived constants of these spaces.
        episodes_per_trial: planned number of episodes.
        generator: the source of the actions' noise.
        is_greedy: always take the most likely action.
    """

    def __init__(
        self,
        policy: RL2Policy,
        spaces: SpacePair,
        constants: PairConstants,
        *,
        episodes_per_trial: int,
        generator: torch.Generator,
        is_greedy: bool,
    ) -> None:
        self._policy, self._spaces, self._is_greedy = policy, spaces, is_greedy
        self._episodes_per_trial = episodes_per_trial
        self._generator = generator
        self._active = torch.ones(1, dtype=torch.bool)
        self._state = policy.begin(
            spaces,
            num_trials=1,
            episodes_per_trial=episodes_per_trial,
            device=torch.device("cpu"),
            constants=constants,
        )

    @torch.no_grad()
    def act(self, observation: Float[Tensor, "1 D"]) -> Shaped[Tensor, "1 ..."]:
        """Choose an action."""
        inputs = self._policy.look(self._spaces, self._state, observation)
        output = self._policy.step(self._spaces, inputs, self._state.hidden, self._state.constants)
        distribution = output.distribution
        self._observation, self._hidden = observation, output.hidden
        self._action = distribution.mode() if self._is_greedy else distribution.sample(self._generator)
        return self._action

    @torch.no_grad()
    def observe(
        self,
        *,
        reward: Float[Tensor, "1"],
        final_observation: Float[Tensor, "1 D"],
        terminated: Bool[Tensor, "1"],
        truncated: Bool[Tensor, "1"],
    ) -> None:
        """Record the outcome of the last action."""
        self._policy.take(
            self._spaces,
            self._state,
            hidden=self._hidden,
            observation=self._observation,
            action=self._action,
            reward=reward,
            final_observation=final_observation,
            terminated=terminated,
            active=self._active,
        )
        self._policy.end_episodes(self._state, terminated=terminated, truncated=truncated, active=self._active)
        # After the last planned episode, the policy's input always says that one episode is left.
        self._state.episode_index.clamp_(max=self._episodes_per_trial)
