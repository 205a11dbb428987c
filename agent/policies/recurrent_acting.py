"""Acting with a recurrent policy, which adapts through its hidden state and its in-trial memory.

With a memory of trials, a trial begins with what the memory holds of its task, and is stored there when it has ended.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.policy_state import PairConstants, PolicyState
from agent.learners.rl2.recalled_trials import reinstate
from agent.policies.trial_memory import TrialMemory
from envs.spaces import SpacePair
from memory.records import EpisodeRecord, TrialRecord


class RecurrentPolicy:
    """An RL² policy whose parameters no longer change.

    Args:
        policy: the policy.
        memory: the memory of trials; None begins every trial empty.
    """

    def __init__(self, policy: RL2Policy, memory: TrialMemory | None = None) -> None:
        self._policy, self._memory = policy.eval(), memory
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
            memory=self._memory,
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
        memory: the memory that is asked at the first observation, and stores the trial after its planned episodes;
            None begins empty.
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
        memory: TrialMemory | None = None,
    ) -> None:
        self._policy, self._spaces, self._is_greedy = policy, spaces, is_greedy
        self._episodes_per_trial = episodes_per_trial
        self._generator = generator
        self._active = torch.ones(1, dtype=torch.bool)
        self._constants, self._memory = constants, memory
        self._state: PolicyState | None = None
        self._episodes: list[EpisodeRecord] = []
        self._steps: list[_Step] = []

    @torch.no_grad()
    def act(self, observation: Shaped[Tensor, "1 D"]) -> Shaped[Tensor, "1 ..."]:
        """Choose an action."""
        if self._state is None:
            self._state = self._begin(observation)
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
        final_observation: Shaped[Tensor, "1 D"],
        terminated: Bool[Tensor, "1"],
        truncated: Bool[Tensor, "1"],
    ) -> None:
        """Record the outcome of the last action."""
        state = self._state
        assert state is not None, "act comes first"
        self._policy.take(
            self._spaces,
            state,
            hidden=self._hidden,
            observation=self._observation,
            action=self._action,
            reward=reward,
            final_observation=final_observation,
            terminated=terminated,
            active=self._active,
        )
        self._policy.end_episodes(state, terminated=terminated, truncated=truncated, active=self._active)
        # After the last planned episode, the policy's input always says that one episode is left.
        state.episode_index.clamp_(max=self._episodes_per_trial)
        if self._memory is not None and len(self._episodes) < self._episodes_per_trial:
            self._steps.append(_Step(self._observation, self._action, reward))
            if bool(terminated | truncated):
                self._end_episode(self._memory, final_observation, is_terminated=bool(terminated))

    def _begin(self, observation: Shaped[Tensor, "1 D"]) -> PolicyState:
        """Create the state of the trial: empty, or with what the memory holds of the task."""
        recalled = None
        if self._memory is not None:
            found = self._memory.recall(self._spaces, observation[0].numpy())
            recalled = reinstate(self._policy, self._spaces, [found], constants=self._constants)
        return self._policy.begin(
            self._spaces,
            num_trials=1,
            episodes_per_trial=self._episodes_per_trial,
            device=torch.device("cpu"),
            constants=self._constants,
            reinstated=recalled,
        )

    def _end_episode(self, memory: TrialMemory, final_observation: Tensor, *, is_terminated: bool) -> None:
        """Record the episode; store the trial after its last planned episode."""
        observations = [*(step.observation for step in self._steps), final_observation]
        self._episodes.append(
            EpisodeRecord(
                observations=torch.cat(observations).numpy(),
                actions=torch.cat([step.action for step in self._steps]).numpy(),
                rewards=torch.cat([step.reward for step in self._steps]).numpy(),
                is_terminated=is_terminated,
            )
        )
        self._steps = []
        if len(self._episodes) == self._episodes_per_trial:
            memory.store(self._spaces, TrialRecord(task={}, episodes=tuple(self._episodes)))


class _Step(NamedTuple):
    """A step of the episode in progress, one row each."""

    observation: Tensor
    action: Tensor
    reward: Tensor
