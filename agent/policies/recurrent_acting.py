"""Acting with a recurrent policy, which adapts through its hidden state and its in-trial memory.

With a memory of trials, a trial begins with what the memory holds of its task, and is stored there when it has ended.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from numpy.typing import NDArray
from torch import Tensor

from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.policy_state import PairConstants, PolicyState
from agent.learners.rl2.recalled_trials import RecalledStarts
from agent.learners.rl2.recognition import Recognition
from agent.learners.rl2.stored_steps import StoredSteps
from agent.policies.trial_memory import TrialMemory
from envs.spaces import SpacePair
from memory.records import TrialRecord
from memory.retrieval.recall import RecalledTrials


class RecurrentPolicy:
    """An RL² policy whose parameters no longer change.

    Args:
        policy: the policy.
        memory: the memory of trials; None begins every trial empty.
    """

    def __init__(self, policy: RL2Policy, memory: TrialMemory | None = None) -> None:
        self._policy, self._memory = policy.eval(), memory
        self._constants: dict[str, PairConstants] = {}

    def begin(
        self,
        spaces: SpacePair,
        *,
        episodes_per_trial: int,
        seed: int,
        is_greedy: bool,
        context: bytes | None = None,
    ) -> RecurrentActor:
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
            context=context,
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
        context: the digest of the task's ``info["context"]``, by which the memory finds it; None without one.
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
        context: bytes | None = None,
    ) -> None:
        self._policy, self._spaces, self._is_greedy, self._context = policy, spaces, is_greedy, context
        self._episodes_per_trial = episodes_per_trial
        self._generator = generator
        self._active = torch.ones(1, dtype=torch.bool)
        self._constants, self._memory = constants, memory
        self._state: PolicyState | None = None
        self._recognition: Recognition | None = None

    @torch.no_grad()
    def act(
        self, observation: Shaped[Tensor, "1 D"], *, allowed: Bool[Tensor, "1 C"] | None = None
    ) -> Shaped[Tensor, "1 ..."]:
        """Choose an action, of those that are allowed."""
        if self._state is None:
            self._state = self._begin(observation)
        inputs = self._policy.look(self._spaces, self._state, observation, allowed=allowed)
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
        if self._recognition is not None:
            step = StoredSteps(
                observation=self._observation,
                action=self._action,
                reward=reward,
                terminated=terminated,
                truncated=truncated,
                is_valid=self._active,
                next_observation=final_observation,
            )
            self._recognise(self._recognition, step)

    def _begin(self, observation: Shaped[Tensor, "1 D"]) -> PolicyState:
        """Create the state of the trial: empty, or with what the memory holds of the task."""
        starts = RecalledStarts(self._policy, self._spaces, constants=self._constants)
        if self._memory is None:
            return starts.begin([RecalledTrials()], episodes_per_trial=self._episodes_per_trial)
        self._recognition = Recognition(
            _OfSpaces(self._memory, self._spaces),
            starts,
            first_observation=observation,
            contexts=[self._context],
            episodes_per_trial=self._episodes_per_trial,
        )
        return self._recognition.begin()

    def _recognise(self, recognition: Recognition, step: StoredSteps) -> None:
        """Go on with what the memory recalls now; store the trial after its last planned episode."""
        self._state = recognition.take(step) or self._state
        if self._memory is not None and recognition.is_over(0):
            self._memory.store(self._spaces, recognition.record(0), context=self._context)
            self._recognition = None


class _OfSpaces:
    """The trials of one space pair of a memory.

    Args:
        memory: the memory.
        spaces: the space pair.
    """

    last_asked = None

    def __init__(self, memory: TrialMemory, spaces: SpacePair) -> None:
        self._memory, self._spaces = memory, spaces

    def is_asked_again(self, num_steps: int, *, has_ended: bool) -> bool:
        """Return whether the memory is asked again after so many steps of a trial."""
        return self._memory.is_asked_again(self._spaces, num_steps, has_ended=has_ended)

    def find(
        self,
        first_observation: NDArray[Any],
        *,
        context: bytes | None = None,
        begun: TrialRecord | None = None,
    ) -> RecalledTrials:
        """Return the trials of a task."""
        return self._memory.recall(self._spaces, first_observation, context=context, begun=begun)
