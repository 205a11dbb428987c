"""Acting with a recurrent policy, which adapts through its hidden state and its in-trial memory.

With a memory of trials, a trial begins with what the memory holds of its task, and is stored there when it has ended.
"""

from __future__ import annotations

import operator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.policy_state import PairConstants, PolicyState
from agent.learners.rl2.recalled_trials import reinstate, run_again
from agent.learners.rl2.stored_steps import steps_of_trial
from agent.learners.rl2.trees import map_tensors
from agent.policies.trial_memory import TrialMemory
from envs.spaces import SpacePair
from memory.records import EpisodeRecord, TrialRecord
from memory.retrieval.recall import RecalledTrials

LIKENESS_STEP = 0.1
"""A change of the likeness that is worth computing the state of a trial again."""


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
        self._episodes: list[EpisodeRecord] = []
        self._steps: list[_Step] = []
        self._num_steps = 0

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
        if self._memory is not None and len(self._episodes) < self._episodes_per_trial:
            self._steps.append(_Step(self._observation, self._action, reward))
            self._num_steps += 1
            has_ended = bool(terminated | truncated)
            if has_ended:
                self._end_episode(self._memory, final_observation, is_terminated=bool(terminated))
            if len(self._episodes) < self._episodes_per_trial and self._memory.is_asked_again(
                self._spaces, self._num_steps, has_ended=has_ended
            ):
                self._ask_again(self._memory, final_observation)

    def _begin(self, observation: Shaped[Tensor, "1 D"]) -> PolicyState:
        """Create the state of the trial: empty, or with what the memory holds of the task."""
        self._first_observation = observation[0].numpy()
        if self._memory is None:
            return self._begin_with(RecalledTrials())
        return self._begin_with(self._memory.recall(self._spaces, self._first_observation, context=self._context))

    def _begin_with(self, recalled: RecalledTrials) -> PolicyState:
        self._recalled = recalled
        return self._policy.begin(
            self._spaces,
            num_trials=1,
            episodes_per_trial=self._episodes_per_trial,
            device=torch.device("cpu"),
            constants=self._constants,
            reinstated=reinstate(self._policy, self._spaces, [recalled], constants=self._constants),
        )

    def _ask_again(self, memory: TrialMemory, next_observation: Float[Tensor, "1 D"]) -> None:
        """Ask the memory with the steps so far, and go on as if the trial had begun with what it now recalls."""
        is_amid_episode = bool(self._steps)
        unfinished = (self._episode(next_observation, is_terminated=False),) if is_amid_episode else ()
        begun = TrialRecord(task={}, episodes=(*self._episodes, *unfinished))
        recalled = memory.recall(self._spaces, self._first_observation, context=self._context, begun=begun)
        if _are_alike(recalled, self._recalled):
            return
        steps = steps_of_trial(begun)
        if is_amid_episode:
            steps.truncated[-1] = False
        self._state = self._begin_with(recalled)
        run_again(self._policy, self._spaces, self._state, map_tensors(lambda values: values.unsqueeze(1), steps))

    def _end_episode(self, memory: TrialMemory, final_observation: Tensor, *, is_terminated: bool) -> None:
        """Record the episode; store the trial after its last planned episode."""
        self._episodes.append(self._episode(final_observation, is_terminated=is_terminated))
        self._steps = []
        if len(self._episodes) == self._episodes_per_trial:
            trial = TrialRecord(task={}, episodes=tuple(self._episodes))
            memory.store(self._spaces, trial, context=self._context)

    def _episode(self, final_observation: Tensor, *, is_terminated: bool) -> EpisodeRecord:
        """Return the record of the steps of the present episode."""
        observations = [*(step.observation for step in self._steps), final_observation]
        return EpisodeRecord(
            observations=torch.cat(observations).numpy(),
            actions=torch.cat([step.action for step in self._steps]).numpy(),
            rewards=torch.cat([step.reward for step in self._steps]).numpy(),
            is_terminated=is_terminated,
        )


def _are_alike(one: RecalledTrials, other: RecalledTrials) -> bool:
    """Return whether two recalls are of the same trials with nearly the same likeness."""
    are_same = len(one.trials) == len(other.trials) and all(map(operator.is_, one.trials, other.trials))
    return are_same and abs(one.likeness - other.likeness) < LIKENESS_STEP


class _Step(NamedTuple):
    """A step of the episode in progress, one row each."""

    observation: Tensor
    action: Tensor
    reward: Tensor
