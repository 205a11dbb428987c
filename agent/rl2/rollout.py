"""Rollouts: the policy and the tasks step together, without an autograd graph.

On an accelerator, rollouts do not synchronise with the host at every step: the inputs for truncation values are stored
for every row, and the truncated steps are selected after the last step. On a CPU the check for truncated rows is cheap,
so the inputs are computed and stored for those rows only.

Trials end at different steps, and the longest may last several times as long as a typical one. On a CPU the policy
therefore decides only for packed rows: the trials that were still running at the last check. The noise that draws an
action belongs to its trial and step, so packing changes no trial. The tasks keep their own rows, and leave finished
trials unchanged.

Shapes: T steps, B trials, R packed rows, S steps of a stretch, D observation width, H hidden, Y critic features, C
truncated steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from agent.rl2.distributions import ActionDistribution, action_noise
from agent.rl2.policy import RL2Policy
from agent.rl2.policy_state import PolicyInput
from agent.rl2.trials import TrialBatch
from envs.family import Split
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch, Transition

DEVICE_CHECK_STEPS = 16
"""On an accelerator, steps between two checks whether every trial has ended. Each check waits for the device."""

Value = TypeVar("Value", "_Step", PolicyInput)

PACKING_SHARE = 0.75
"""Rows are packed when at most this share of the current rows belongs to running trials."""

NOISE_STEPS = 16
"""Number of steps for which action noise is drawn at once."""

MIN_PACKED_ROWS = 16
"""With this few rows, packing stops: the cost of an operation no longer depends on the number of rows."""


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
        policy: a policy that knows the tasks' spaces.
        tasks: B tasks of a family.
        first_task: index of the first task in its split.
        split: training or held-out tasks; held-out trials carry nothing to learn from.
        generator: source of the actions' noise; it lives on the tasks' device.
        is_greedy: take the most likely action instead of drawing one.
        num_episodes: E of these trials, at most the family's own; None for the family's own.
        progress: called with the number of environment steps so far. On a CPU it is called at every step. On an
            accelerator it is called with an approximate number every ``DEVICE_CHECK_STEPS`` steps. It may raise to
            abandon the trials.

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
    num_env_steps, num_active = 0, tasks.num_trials
    while True:
        rollout.step()
        if rollout.num_steps % check_steps == 0 or rollout.num_steps == rollout.most_steps:
            num_env_steps += num_active * check_steps
            num_active = int(rollout.active.sum())
            if progress is not None:
                progress(num_env_steps)
            if num_active == 0:
                return sort_out(policy, rollout.played())
            if rollout.active.device.type == "cpu":
                rollout.pack(num_active)


@dataclass(frozen=True, kw_only=True)
class Played:
    """The data of B trials, step by step: tensors of fixed shapes, before ends and truncated steps are selected.

    Attributes:
        spaces: the family's pair of spaces.
        episodes_per_trial: E.
        inputs: [T, B].
        scores: [T, B, K] of the action distributions.
        log_std: [K] of continuous distributions; None otherwise.
        action: [T, B] or [T, B, W].
        reward: [T, B].
        terminated: [T, B].
        truncated: [T, B].
        is_valid: [T, B].
        episode_index: [T, B].
        final_observation: [T, B, D].
        features: [T, B, Y]; None for held-out trials.
        final_inputs: the policy's inputs at true final observations: [T·B], or [C] if only truncated episodes were
            stored; None if nothing is truncated.
        final_hidden: [T·B, H] or [C, H] the hidden state that belongs to ``final_inputs``; None if nothing is
            truncated.
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
    """Build the trial batch from the recorded steps.

    The function finds ends and truncated steps, and computes critic features at truncations by one policy step.
    """
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
    """Return [C, Y], the inputs of a critic at the true final observations of truncated episodes."""
    inputs, hidden = played.final_inputs, played.final_hidden
    if inputs is None or hidden is None or len(cut) == 0:
        config = policy.config
        return played.reward.new_empty(0, config.hidden_size + config.input_size)
    if len(hidden) != len(cut):
        inputs, hidden = inputs.rows(cut), hidden.index_select(0, cut)
    return policy.step(played.spaces, inputs, hidden).features


def num_planned_episodes(tasks: TaskBatch, num_episodes: int | None) -> int:
    """Return E of trials that are about to begin: at most the family's own, which None stands for."""
    return min(num_episodes or tasks.spec.episodes_per_trial, tasks.spec.episodes_per_trial)


class Rollout:
    """A rollout of B trials in progress. A step fetches nothing from an accelerator, so that it can be captured.

    The arguments are those of :func:`collect_trials`, with two differences:

    - ``first_task`` may be a tensor [] on the device, for families that accept one.
    - ``may_ask=False`` prevents fetching data from the device on a CPU too.
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
        episodes_per_trial = num_planned_episodes(tasks, num_episodes)
        # Only families that accept a tensor are given one.
        self._observation = tasks.begin(cast("int", first_task), split=split)
        device = self._observation.device
        self._may_ask = may_ask and device.type == "cpu"
        self._state = policy.begin(
            self._spaces, num_trials=tasks.num_trials, episodes_per_trial=episodes_per_trial, device=device
        )
        self.active = torch.ones(tasks.num_trials, dtype=torch.bool, device=device)
        """[B] whether the trial is still running."""
        limit = tasks.max_episode_steps
        self.most_steps = None if limit is None else limit * episodes_per_trial
        """T at most; None if it is unknown."""
        self._keeps_features = split is Split.TRAINING
        self._rows: Tensor | None = None
        self._noise: list[Tensor] = []
        self._stretches: list[_Stretch] = [_Stretch(rows=None, steps=[])]
        self._final_inputs: list[PolicyInput] = []
        self._final_hidden: list[Tensor] = []

    @property
    def num_steps(self) -> int:
        """The number of steps taken."""
        return sum(len(stretch.steps) for stretch in self._stretches)

    def step(self) -> None:
        """Take one step of every running trial."""
        policy, spaces, state, active = self._policy, self._spaces, self._state, self._packed(self.active)
        inputs = policy.look(spaces, state, self._observation)
        output = policy.step(spaces, inputs, state.hidden, state.constants)
        action = self._choose(output.distribution)
        transition = self._step_tasks(action)
        self._stretches[-1].steps.append(
            _Step(
                inputs=inputs,
                scores=output.distribution.scores,
                features=output.features if self._keeps_features else None,
                action=action,
                reward=transition.reward,
                terminated=transition.terminated,
                truncated=transition.truncated,
                final_observation=transition.final_observation,
                is_valid=active,
                episode_index=state.episode_index,
            )
        )
        self._log_std = output.distribution.log_std
        policy.take(
            spaces,
            state,
            hidden=output.hidden,
            observation=self._observation,
            action=action,
            reward=transition.reward,
            final_observation=transition.final_observation,
            terminated=transition.terminated,
            active=active,
        )
        if self._keeps_features and self._tasks.may_truncate:
            self._look_at_ends(transition, active)
        policy.end_episodes(state, terminated=transition.terminated, truncated=transition.truncated, active=active)
        self._spread(state.episode_index < state.episodes_per_trial)
        self._observation = transition.observation

    def pack(self, num_active: int) -> None:
        """Restrict the policy's rows to the running trials, if this is worth moving their state.

        Args:
            num_active: number of running trials.
        """
        num_rows = len(self._observation)
        if num_rows <= MIN_PACKED_ROWS or num_active > PACKING_SHARE * num_rows:
            return
        kept = self._packed(self.active).nonzero().squeeze(1)
        self._rows = kept if self._rows is None else self._rows.index_select(0, kept)
        self._state.keep(kept)
        self._observation = self._observation.index_select(0, kept)
        self._stretches.append(_Stretch(rows=self._rows, steps=[]))

    def played(self) -> Played:
        """Return the data of the steps so far."""
        stretches = [stretch for stretch in self._stretches if stretch.steps]
        steps = _join(stretches, num_trials=len(self.active))
        return Played(
            spaces=self._spaces,
            episodes_per_trial=self._state.episodes_per_trial,
            inputs=steps.inputs,
            scores=steps.scores,
            log_std=self._log_std,
            action=steps.action,
            reward=steps.reward * steps.is_valid,
            terminated=steps.terminated & steps.is_valid,
            truncated=steps.truncated & steps.is_valid,
            is_valid=steps.is_valid,
            episode_index=steps.episode_index,
            final_observation=steps.final_observation,
            features=steps.features,
            final_inputs=_mapped(torch.cat, self._final_inputs) if self._final_inputs else None,
            final_hidden=torch.cat(self._final_hidden) if self._final_hidden else None,
        )

    def _packed(self, values: Tensor) -> Tensor:
        """Select the packed rows: [R] of [B]."""
        return values if self._rows is None else values.index_select(0, self._rows)

    def _choose(self, distribution: ActionDistribution) -> Tensor:
        if self._is_greedy:
            return distribution.mode()
        if not self._noise:
            shape = torch.Size((NOISE_STEPS, len(self.active)))
            device = self.active.device
            noise = action_noise(self._spaces.action, shape, generator=self._generator, device=device)
            self._noise = list(noise.unbind()[::-1])
        return distribution.drawn_by(self._packed(self._noise.pop()))

    def _step_tasks(self, action: Tensor) -> Transition:
        """Step the tasks in their own rows [B] and return the transition of the packed rows."""
        if self._rows is None:
            return self._tasks.step(action, self.active)
        actions = action.new_zeros(len(self.active), *action.shape[1:])
        return self._tasks.step(actions.index_copy_(0, self._rows, action), self.active).rows(self._rows)

    def _spread(self, active: Tensor) -> None:
        """Update ``active`` from the flags of the packed rows."""
        if self._rows is None:
            self.active = active
        else:
            self.active = torch.zeros_like(self.active).index_copy_(0, self._rows, active)

    def _look_at_ends(self, transition: Transition, active: Tensor) -> None:
        """Store the policy's inputs at true final observations, with the hidden state after the step.

        This changes neither the hidden state nor the in-trial memory.
        """
        policy, state = self._policy, self._state
        if not self._may_ask:
            self._final_inputs.append(policy.look(self._spaces, state, transition.final_observation))
            self._final_hidden.append(state.hidden)
            return
        rows = (transition.truncated & active).nonzero().squeeze(1)
        if len(rows):
            inputs = policy.look(self._spaces, state, transition.final_observation)
            self._final_inputs.append(inputs.rows(rows))
            self._final_hidden.append(state.hidden.index_select(0, rows))


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One step of a rollout with R rows, [R]; or S steps of a rollout, [S, R]."""

    inputs: PolicyInput
    scores: Tensor
    features: Tensor | None
    action: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    final_observation: Tensor
    is_valid: Tensor
    episode_index: Tensor


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """Consecutive steps that were taken in the same rows.

    Attributes:
        rows: [R] indices of the trials, ascending; None for all trials.
        steps: the steps, of R rows each.
    """

    rows: Tensor | None
    steps: list[_Step]


def _join(stretches: Sequence[_Stretch], *, num_trials: int) -> _Step:
    """Join all steps of all trials into [T, B]; entries are zero after a trial's rows were dropped."""
    if len(stretches) == 1 and stretches[0].rows is None:
        return _mapped(torch.stack, stretches[0].steps)
    num_steps = sum(len(stretch.steps) for stretch in stretches)

    def joined(parts: list[Tensor]) -> Tensor:
        whole = parts[0].new_zeros(num_steps, num_trials, *parts[0].shape[1:])
        start = 0
        for stretch in stretches:
            stop = start + len(stretch.steps)
            if stretch.rows is None:
                torch.stack(parts[start:stop], out=whole[start:stop])
            else:
                whole[start:stop].index_copy_(1, stretch.rows, torch.stack(parts[start:stop]))
            start = stop
        return whole

    return _mapped(joined, [step for stretch in stretches for step in stretch.steps])


def _mapped(join: Callable[[list[Tensor]], Tensor], values: Sequence[Value]) -> Value:
    """Combine dataclasses of tensors into one, tensor by tensor with ``join``; a field that is None stays None."""
    first = values[0]
    parts = {field.name: [getattr(value, field.name) for value in values] for field in fields(first)}
    joined: dict[str, Any] = {
        name: None if part[0] is None else join(part) if isinstance(part[0], Tensor) else _mapped(join, part)
        for name, part in parts.items()
    }
    return type(first)(**joined)
