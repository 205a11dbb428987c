"""Rolling out trials: the policy and the tasks in step, with no graph and nothing fetched from the device per step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from agent.rl2.distributions import ActionDistribution
from agent.rl2.policy import PolicyInput, PolicyOutput, PolicyState, RL2Policy
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
    spaces = tasks.spaces
    episodes_per_trial = min(num_episodes or tasks.spec.episodes_per_trial, tasks.spec.episodes_per_trial)
    observation = tasks.begin(first_task, split=split)
    state = policy.begin(
        spaces,
        num_trials=tasks.num_trials,
        episodes_per_trial=episodes_per_trial,
        device=observation.device,
    )
    record = _Record(spaces=spaces, num_trials=tasks.num_trials, keeps_features=split is Split.TRAINING)
    active = torch.ones(tasks.num_trials, dtype=torch.bool, device=observation.device)
    check_steps = 1 if observation.device.type == "cpu" else DEVICE_CHECK_STEPS
    num_env_steps = 0
    while True:
        inputs = policy.look(spaces, state, observation)
        output = policy.step(spaces, inputs, state.hidden)
        action = output.distribution.mode() if is_greedy else output.distribution.sample(generator)
        transition = tasks.step(action, active)
        record.step(
            inputs, output, action=action, transition=transition, active=active, episode_index=state.episode_index
        )
        policy.take(
            spaces,
            state,
            hidden=output.hidden,
            observation=observation,
            action=action,
            reward=transition.reward,
            final_observation=transition.final_observation,
            terminated=transition.terminated,
            truncated=transition.truncated,
            active=active,
        )
        if record.keeps_features:
            record.cuts(_features_of_cuts(policy, spaces, state, transition, active))
        policy.end_episodes(state, terminated=transition.terminated, truncated=transition.truncated, active=active)
        active = state.episode_index < state.episodes_per_trial
        observation = transition.observation
        if record.num_steps % check_steps == 0:
            num_active = int(active.sum())
            num_env_steps += num_active * check_steps
            if progress is not None:
                progress(num_env_steps)
            if num_active == 0:
                return record.batch(episodes_per_trial)


def _features_of_cuts(
    policy: RL2Policy, spaces: SpacePair, state: PolicyState, transition: Transition, active: Tensor
) -> Tensor | None:
    """What a critic judges the true last observations of cut episodes by: [C, Y], or None where none was cut.

    One more look, from the hidden state after the step; neither it nor the in-trial memory is moved by it.
    """
    rows = (transition.truncated & active).nonzero().squeeze(1)
    if len(rows) == 0:
        return None
    inputs = policy.look(spaces, state, transition.final_observation)
    return policy.step(spaces, inputs, state.hidden).features.index_select(0, rows)


@dataclass(kw_only=True)
class _Record:
    """The steps of a rollout as they come."""

    spaces: SpacePair
    num_trials: int
    keeps_features: bool
    inputs: list[PolicyInput] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    log_std: Tensor | None = None
    features: list[Tensor] = field(default_factory=list)
    actions: list[Tensor] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    active: list[Tensor] = field(default_factory=list)
    episode_index: list[Tensor] = field(default_factory=list)
    cut_features: list[Tensor] = field(default_factory=list)

    @property
    def num_steps(self) -> int:
        return len(self.actions)

    def step(
        self,
        inputs: PolicyInput,
        output: PolicyOutput,
        *,
        action: Tensor,
        transition: Transition,
        active: Tensor,
        episode_index: Tensor,
    ) -> None:
        self.inputs.append(inputs)
        self.scores.append(output.distribution.scores)
        self.log_std = output.distribution.log_std
        if self.keeps_features:
            self.features.append(output.features)
        self.actions.append(action)
        self.transitions.append(transition)
        self.active.append(active)
        self.episode_index.append(episode_index)

    def cuts(self, features: Tensor | None) -> None:
        if features is not None:
            self.cut_features.append(features)

    def batch(self, episodes_per_trial: int) -> TrialBatch:
        is_valid = torch.stack(self.active)
        action = torch.stack(self.actions)
        terminated = torch.stack([t.terminated for t in self.transitions]) & is_valid
        truncated = torch.stack([t.truncated for t in self.transitions]) & is_valid
        distribution = ActionDistribution(
            action=self.spaces.action, scores=torch.stack(self.scores), log_std=self.log_std
        )
        end = (terminated | truncated).flatten().nonzero().squeeze(1)
        final = torch.stack([t.final_observation for t in self.transitions]).flatten(0, 1)
        return TrialBatch(
            spaces=self.spaces,
            episodes_per_trial=episodes_per_trial,
            inputs=PolicyInput.stack(self.inputs),
            action=action,
            log_prob=distribution.log_prob(action),
            reward=torch.stack([t.reward for t in self.transitions]) * is_valid,
            terminated=terminated,
            truncated=truncated,
            is_valid=is_valid,
            episode_index=torch.stack(self.episode_index),
            end=end,
            final_observation=final.index_select(0, end),
            features=torch.stack(self.features) if self.keeps_features else None,
            cut=truncated.flatten().nonzero().squeeze(1) if self.keeps_features else None,
            cut_features=self._all_cut_features() if self.keeps_features else None,
        )

    def _all_cut_features(self) -> Tensor:
        if self.cut_features:
            return torch.cat(self.cut_features)
        return self.features[0].new_empty(0, self.features[0].shape[-1])
