"""Rolling out trials: the policy and the tasks in step, with no graph and nothing fetched from the device per step.

What is played is known to the device alone until the trials are over. So on an accelerator nothing depends on whether
an episode was cut in this step: what a cut would be judged by is kept of every row, and sorted out once at the end. A
CPU is asked, because there the answer costs less than the work that it saves.
"""

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
    record = _Record(
        spaces=spaces,
        num_trials=tasks.num_trials,
        keeps_features=split is Split.TRAINING,
        may_truncate=tasks.may_truncate,
    )
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
            record.look(policy, state, transition, active)
        policy.end_episodes(state, terminated=transition.terminated, truncated=transition.truncated, active=active)
        active = state.episode_index < state.episodes_per_trial
        observation = transition.observation
        if record.num_steps % check_steps == 0:
            num_active = int(active.sum())
            num_env_steps += num_active * check_steps
            if progress is not None:
                progress(num_env_steps)
            if num_active == 0:
                return record.batch(policy, episodes_per_trial)


@dataclass(kw_only=True)
class _Record:
    """The steps of a rollout as they come."""

    spaces: SpacePair
    num_trials: int
    keeps_features: bool
    may_truncate: bool
    inputs: list[PolicyInput] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    log_std: Tensor | None = None
    features: list[Tensor] = field(default_factory=list)
    actions: list[Tensor] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    active: list[Tensor] = field(default_factory=list)
    episode_index: list[Tensor] = field(default_factory=list)
    final_inputs: list[PolicyInput] = field(default_factory=list)
    final_hidden: list[Tensor] = field(default_factory=list)

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

    def look(self, policy: RL2Policy, state: PolicyState, transition: Transition, active: Tensor) -> None:
        """Keep what the policy sees at true last observations, from the hidden state after the step.

        Of the episodes cut in this step on a CPU, of every row on an accelerator. Neither the hidden state nor the
        in-trial memory is moved by it.
        """
        if not self.may_truncate:
            return
        if active.device.type != "cpu":
            self.final_inputs.append(policy.look(self.spaces, state, transition.final_observation))
            self.final_hidden.append(state.hidden)
            return
        rows = (transition.truncated & active).nonzero().squeeze(1)
        if len(rows):
            inputs = policy.look(self.spaces, state, transition.final_observation)
            self.final_inputs.append(inputs.rows(rows))
            self.final_hidden.append(state.hidden.index_select(0, rows))

    def batch(self, policy: RL2Policy, episodes_per_trial: int) -> TrialBatch:
        is_valid = torch.stack(self.active)
        action = torch.stack(self.actions)
        terminated = torch.stack([t.terminated for t in self.transitions]) & is_valid
        truncated = torch.stack([t.truncated for t in self.transitions]) & is_valid
        distribution = ActionDistribution(
            action=self.spaces.action, scores=torch.stack(self.scores), log_std=self.log_std
        )
        end = (terminated | truncated).flatten().nonzero().squeeze(1)
        cut = truncated.flatten().nonzero().squeeze(1)
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
            cut=cut if self.keeps_features else None,
            cut_features=self._cut_features(policy, cut) if self.keeps_features else None,
        )

    def _cut_features(self, policy: RL2Policy, cut: Tensor) -> Tensor:
        """[C, Y] what a critic judges the cut episodes by: one more step of the policy, at their last observations."""
        if not self.final_inputs:
            return self.features[0].new_empty(0, self.features[0].shape[-1])
        inputs, hidden = PolicyInput.cat(self.final_inputs), torch.cat(self.final_hidden)
        if len(hidden) != len(cut):
            inputs, hidden = inputs.rows(cut), hidden.index_select(0, cut)
        return policy.step(self.spaces, inputs, hidden).features
