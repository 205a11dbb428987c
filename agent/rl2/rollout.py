"""Rolling out trials: the policy and the tasks in step, with no graph and nothing fetched from the device per step.

What is played is known to the device alone until the trials are over. So on an accelerator nothing depends on whether
an episode was cut in this step: what a cut would be judged by is kept of every row, and sorted out once at the end. A
CPU is asked, because there the answer costs less than the work that it saves.

Shapes: T steps, B trials, D observation width, H hidden, Y critic features, C cuts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from agent.rl2.distributions import ActionDistribution
from agent.rl2.policy import PolicyInput, RL2Policy
from agent.rl2.trials import TrialBatch
from envs.family import Split
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch, Transition

DEVICE_CHECK_STEPS = 16
"""Steps between two looks, on an accelerator, at whether every trial is over: each look waits for the device."""


@torch.no_grad()
def collect_trials(
    policy: RL2Policy,
    tasks: TaskBatch,
    *,
    first_task: int,
    split: Split,
    generator: torch.Generator,
    is_greedy: bool = False,
    num_episodes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> TrialBatch:
    """Play one trial in each of B tasks.

    Args:
        policy: knows the tasks' spaces.
        tasks: B tasks of a family.
        first_task: index of the first task in its split.
        split: training tasks, or held-out ones, whose trials carry nothing to learn from.
        generator: draws the actions; lives on the tasks' device.
        is_greedy: take the most likely action instead of drawing one.
        num_episodes: E of these trials, at most the family's own; None for the family's own.
        progress: called with the number of environment steps so far, at least every ``DEVICE_CHECK_STEPS`` steps; may
            raise, which abandons the trials.

    Raises:
        WorkerFaultError: the family's worker failed.
    """
    rollout = Rollout(
        policy,
        tasks,
        first_task=first_task,
        split=split,
        generator=generator,
        is_greedy=is_greedy,
        num_episodes=num_episodes,
    )
    check_steps = 1 if rollout.active.device.type == "cpu" else DEVICE_CHECK_STEPS
    num_env_steps = 0
    while True:
        rollout.step()
        if rollout.num_steps % check_steps == 0 or rollout.num_steps == rollout.most_steps:
            num_active = int(rollout.active.sum())
            num_env_steps += num_active * check_steps
            if progress is not None:
                progress(num_env_steps)
            if num_active == 0:
                return sort_out(policy, rollout.played())


@dataclass(frozen=True, kw_only=True)
class Played:
    """What B trials gave, step by step: tensors of fixed shapes, before anything is picked out of them.

    Attributes:
        spaces: of the family.
        episodes_per_trial: E.
        inputs: [T, B].
        scores: [T, B, K] of the action distributions.
        log_std: [K] of continuous ones; None otherwise.
        action: [T, B] or [T, B, W].
        reward: [T, B].
        terminated: [T, B].
        truncated: [T, B].
        is_valid: [T, B].
        episode_index: [T, B].
        final_observation: [T, B, D].
        features: [T, B, Y]; None for held-out trials.
        final_inputs: [T·B], or [C] when only cut episodes' were kept: what the policy sees at true last observations;
            None where nothing is cut.
        final_hidden: [T·B, H] or [C, H] the hidden state it sees them with; None likewise.
    """

    spaces: SpacePair
    episodes_per_trial: int
    inputs: PolicyInput
    scores: Tensor
    log_std: Tensor | None
    action: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    is_valid: Tensor
    episode_index: Tensor
    final_observation: Tensor
    features: Tensor | None
    final_inputs: PolicyInput | None
    final_hidden: Tensor | None


@torch.no_grad()
def sort_out(policy: RL2Policy, played: Played) -> TrialBatch:
    """The trial batch of what was played: ends and cuts found, and cuts judged by one more step of the policy."""
    distribution = ActionDistribution(action=played.spaces.action, scores=played.scores, log_std=played.log_std)
    end = (played.terminated | played.truncated).flatten().nonzero().squeeze(1)
    is_training = played.features is not None
    cut = played.truncated.flatten().nonzero().squeeze(1) if is_training else None
    return TrialBatch(
        spaces=played.spaces,
        episodes_per_trial=played.episodes_per_trial,
        inputs=played.inputs,
        action=played.action,
        log_prob=distribution.log_prob(played.action),
        reward=played.reward,
        terminated=played.terminated,
        truncated=played.truncated,
        is_valid=played.is_valid,
        episode_index=played.episode_index,
        end=end,
        final_observation=played.final_observation.flatten(0, 1).index_select(0, end),
        features=played.features,
        cut=cut,
        cut_features=None if cut is None else _cut_features(policy, played, cut),
    )


def _cut_features(policy: RL2Policy, played: Played, cut: Tensor) -> Tensor:
    """[C, Y] what a critic judges the true last observations of cut episodes by."""
    inputs, hidden = played.final_inputs, played.final_hidden
    if inputs is None or hidden is None or len(cut) == 0:
        config = policy.config
        return played.reward.new_empty(0, config.hidden_size + config.input_size)
    if len(hidden) != len(cut):
        inputs, hidden = inputs.rows(cut), hidden.index_select(0, cut)
    return policy.step(played.spaces, inputs, hidden).features


class Rollout:
    """B trials under way. A step fetches nothing from an accelerator, so that it can be captured.

    The arguments are those of :func:`collect_trials`. Besides, ``first_task`` may be a tensor [] on the device, for the
    families that take one, and with ``may_ask=False`` nothing is fetched from a CPU either.
    """

    def __init__(
        self,
        policy: RL2Policy,
        tasks: TaskBatch,
        *,
        first_task: int | Tensor,
        split: Split,
        generator: torch.Generator,
        is_greedy: bool = False,
        num_episodes: int | None = None,
        may_ask: bool = True,
    ) -> None:
        self._policy, self._tasks, self._spaces = policy, tasks, tasks.spaces
        self._generator, self._is_greedy = generator, is_greedy
        episodes_per_trial = min(num_episodes or tasks.spec.episodes_per_trial, tasks.spec.episodes_per_trial)
        # Only families that take a tensor are given one.
        self._observation = tasks.begin(cast("int", first_task), split=split)
        device = self._observation.device
        self._may_ask = may_ask and device.type == "cpu"
        self._state = policy.begin(
            self._spaces, num_trials=tasks.num_trials, episodes_per_trial=episodes_per_trial, device=device
        )
        self.active = torch.ones(tasks.num_trials, dtype=torch.bool, device=device)
        """[B] trials that go on."""
        limit = tasks.max_episode_steps
        self.most_steps = None if limit is None else limit * episodes_per_trial
        """T at most; None where that is not known."""
        self._keeps_features = split is Split.TRAINING
        self._steps: list[_Step] = []
        self._final_inputs: list[PolicyInput] = []
        self._final_hidden: list[Tensor] = []

    @property
    def num_steps(self) -> int:
        """Steps taken."""
        return len(self._steps)

    def step(self) -> None:
        """Take one step of every trial that goes on."""
        policy, spaces, state, active = self._policy, self._spaces, self._state, self.active
        inputs = policy.look(spaces, state, self._observation)
        output = policy.step(spaces, inputs, state.hidden)
        action = output.distribution.mode() if self._is_greedy else output.distribution.sample(self._generator)
        transition = self._tasks.step(action, active)
        self._steps.append(
            _Step(
                inputs=inputs,
                distribution=output.distribution,
                features=output.features if self._keeps_features else None,
                action=action,
                transition=transition,
                active=active,
                episode_index=state.episode_index,
            )
        )
        policy.take(
            spaces,
            state,
            hidden=output.hidden,
            observation=self._observation,
            action=action,
            reward=transition.reward,
            final_observation=transition.final_observation,
            terminated=transition.terminated,
            truncated=transition.truncated,
            active=active,
        )
        if self._keeps_features and self._tasks.may_truncate:
            self._look_at_ends(transition)
        policy.end_episodes(state, terminated=transition.terminated, truncated=transition.truncated, active=active)
        self.active = state.episode_index < state.episodes_per_trial
        self._observation = transition.observation

    def played(self) -> Played:
        """What the trials gave so far."""
        steps = self._steps
        is_valid = torch.stack([step.active for step in steps])
        features = [step.features for step in steps if step.features is not None]
        return Played(
            spaces=self._spaces,
            episodes_per_trial=self._state.episodes_per_trial,
            inputs=PolicyInput.stack([step.inputs for step in steps]),
            scores=torch.stack([step.distribution.scores for step in steps]),
            log_std=steps[-1].distribution.log_std,
            action=torch.stack([step.action for step in steps]),
            reward=torch.stack([step.transition.reward for step in steps]) * is_valid,
            terminated=torch.stack([step.transition.terminated for step in steps]) & is_valid,
            truncated=torch.stack([step.transition.truncated for step in steps]) & is_valid,
            is_valid=is_valid,
            episode_index=torch.stack([step.episode_index for step in steps]),
            final_observation=torch.stack([step.transition.final_observation for step in steps]),
            features=torch.stack(features) if features else None,
            final_inputs=PolicyInput.cat(self._final_inputs) if self._final_inputs else None,
            final_hidden=torch.cat(self._final_hidden) if self._final_hidden else None,
        )

    def _look_at_ends(self, transition: Transition) -> None:
        """Keep what the policy sees at true last observations, from the hidden state after the step.

        Neither the hidden state nor the in-trial memory is moved by it.
        """
        policy, state = self._policy, self._state
        if not self._may_ask:
            self._final_inputs.append(policy.look(self._spaces, state, transition.final_observation))
            self._final_hidden.append(state.hidden)
            return
        rows = (transition.truncated & self.active).nonzero().squeeze(1)
        if len(rows):
            inputs = policy.look(self._spaces, state, transition.final_observation)
            self._final_inputs.append(inputs.rows(rows))
            self._final_hidden.append(state.hidden.index_select(0, rows))


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One step of a rollout, [B]."""

    inputs: PolicyInput
    distribution: ActionDistribution
    features: Tensor | None
    action: Tensor
    transition: Transition
    active: Tensor
    episode_index: Tensor
