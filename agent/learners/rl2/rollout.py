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

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from agent.learners.distributions import NOISE_STEPS, ActionDistribution, noise_of_steps
from agent.learners.rl2.played import Played, sort_out
from agent.learners.rl2.policy import PolicyOutput, RL2Policy
from agent.learners.rl2.policy_state import PolicyInput
from agent.learners.rl2.recognition import Recognition
from agent.learners.rl2.reinstatement import Reinstated
from agent.learners.rl2.steps import RecordedSteps, RecordedStretch, Steps, join_stretches
from agent.learners.rl2.stored_steps import StoredSteps
from agent.learners.rl2.trees import join_tensors, select_rows
from agent.learners.rl2.trials import TrialBatch
from envs.family import Split
from envs.spaces import ObservationKind
from envs.task_batch import MaskedTaskBatch, TaskBatch, Transition, begin_exposure

DEVICE_CHECK_STEPS = 16
"""On an accelerator, steps between two checks whether every trial has ended. Each check waits for the device."""

PACKING_SHARE = 0.75
"""Rows are packed when at most this share of the current rows belongs to running trials."""

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
    num_played: int | None = None,
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
        num_played: the number of tasks that are played, the first ones; the trials of the others have no steps. None
            plays all.
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
    if num_played is not None:
        rollout.leave_out(num_played)
    return play_out(policy, rollout, progress=progress)


@torch.no_grad()
def play_out(
    policy: RL2Policy, rollout: Rollout, *, may_pack: bool = True, progress: Callable[[int], None] | None = None
) -> TrialBatch:
    """Take steps until every trial has ended.

    Args:
        policy: the policy of the rollout.
        rollout: a rollout that has just begun.
        may_pack: whether the rows of finished trials may be dropped.
        progress: see :func:`collect_trials`.

    Raises:
        WorkerFaultError: the family's worker failed.
    """
    check_steps = 1 if rollout.active.device.type == "cpu" else DEVICE_CHECK_STEPS
    num_env_steps, num_active = 0, len(rollout.active)
    while True:
        rollout.step()
        if rollout.num_steps % check_steps == 0 or rollout.num_steps == rollout.most_steps:
            num_env_steps += num_active * check_steps
            num_active = int(rollout.active.sum())
            if progress is not None:
                progress(num_env_steps)
            if num_active == 0:
                return sort_out(policy, rollout.played())
            if may_pack and rollout.active.device.type == "cpu":
                rollout.pack(num_active)


def num_planned_episodes(tasks: TaskBatch, num_episodes: int | None) -> int:
    """Return E of trials that are about to begin: at most the family's own, which None stands for."""
    return min(num_episodes or tasks.spec.episodes_per_trial, tasks.spec.episodes_per_trial)


class Rollout:
    """A rollout of B trials in progress. A step fetches nothing from an accelerator, so that it can be captured.

    The arguments are those of :func:`collect_trials`, with these differences:

    - ``first_task`` may be a tensor [] on the device, for families that accept one; or [B], the task of each row, for
      families whose tasks recur.
    - ``may_ask=False`` prevents fetching data from the device on a CPU too.
    - ``reinstated`` is what the trials begin with; None begins empty.
    - ``recognition``, in its place, is asked for it, and again within the trials. Such trials cannot be learned from.
    - ``exposure``, a number or [B], counts the earlier trials of these tasks; families that can draw new noise for it
      do.
    - ``leaves_behind`` keeps what :meth:`left_behind` returns.
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
        reinstated: Reinstated | None = None,
        recognition: Recognition | None = None,
        exposure: int | Tensor = 0,
        leaves_behind: bool = False,
    ) -> None:
        self._policy, self._tasks, self._spaces = policy, tasks, tasks.spaces
        self._generator, self._is_greedy = generator, is_greedy
        episodes_per_trial = num_planned_episodes(tasks, num_episodes)
        self._observation = begin_exposure(tasks, first_task, split=split, exposure=exposure)
        self._masked = tasks if isinstance(tasks, MaskedTaskBatch) else None
        device = self._observation.device
        # Images are large: their final observations are fetched one by one, also from an accelerator.
        self._has_images = self._spaces.observation.kind is ObservationKind.IMAGE
        self._may_ask = may_ask and (device.type == "cpu" or self._has_images)
        self._recognition = recognition
        self._state = (
            recognition.begin()
            if recognition is not None
            else policy.begin(
                self._spaces,
                num_trials=tasks.num_trials,
                episodes_per_trial=episodes_per_trial,
                device=device,
                reinstated=reinstated,
            )
        )
        self._left = None if reinstated is None else reinstated.hidden
        self._hidden = self._state.hidden if leaves_behind else None
        self.active = torch.ones(tasks.num_trials, dtype=torch.bool, device=device)
        """[B] whether the trial is still running."""
        limit = tasks.max_episode_steps
        self.most_steps = None if limit is None else limit * episodes_per_trial
        """T at most; None if it is unknown."""
        self._keeps_features = split is Split.TRAINING and recognition is None
        self._rows: Tensor | None = None
        self._noise: list[Tensor] = []
        self._stretches = [RecordedStretch(rows=None, recorded=[])]
        self._final: list[tuple[PolicyInput, Tensor]] = []
        self._last = [self._observation[:0]]

    def leave_out(self, first: int) -> None:
        """End the trials from row ``first`` on before their first step."""
        self._state.episode_index[first:] = self._state.episodes_per_trial
        self.active[first:] = False

    @property
    def num_steps(self) -> int:
        """The number of steps taken."""
        return sum(len(stretch.recorded) for stretch in self._stretches)

    def step(self) -> None:
        """Take one step of every running trial."""
        policy, spaces, state, active = self._policy, self._spaces, self._state, self._packed(self.active)
        inputs = policy.look(spaces, state, self._observation, allowed=self._allowed())
        output = policy.step(spaces, inputs, state.hidden, state.constants)
        action = self._choose(output.distribution)
        transition = self._step_tasks(action)
        self._record(inputs, output, action, transition, active)
        self._log_std = output.distribution.log_std
        if self._hidden is not None and self._rows is None:
            self._hidden = torch.where(active.unsqueeze(1), output.hidden, self._hidden)
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
        if self._recognition is not None:
            self._recognise(self._recognition, action, transition, active)
        self._observation = transition.observation

    def _recognise(self, recognition: Recognition, action: Tensor, transition: Transition, active: Tensor) -> None:
        """Go on with what the memory recalls after a step."""
        step = StoredSteps(
            observation=self._observation,
            action=action,
            reward=transition.reward,
            terminated=transition.terminated,
            truncated=transition.truncated,
            is_valid=active,
            next_observation=transition.final_observation,
        )
        self._state = recognition.take(step) or self._state

    def _record(
        self, inputs: PolicyInput, output: PolicyOutput, action: Tensor, transition: Transition, active: Tensor
    ) -> None:
        """Record a step of the packed rows: what the policy saw and chose, and what followed."""
        if self._recognition is not None:
            inputs = replace(inputs, recalled=None, recall=None)  # They may begin and end within a trial.
        self._stretches[-1].recorded.append(
            RecordedSteps(
                steps=Steps(
                    inputs=inputs,
                    action=action,
                    reward=transition.reward,
                    terminated=transition.terminated,
                    truncated=transition.truncated,
                    is_valid=active,
                    episode_index=self._state.episode_index,
                ),
                scores=output.distribution.scores,
                features=output.features if self._keeps_features else None,
                final_observation=None if self._has_images else transition.final_observation,
            )
        )
        if self._has_images:
            ended = (transition.terminated | transition.truncated) & active
            self._last.append(transition.final_observation[ended])

    def pack(self, num_active: int) -> None:
        """Restrict the policy's rows to the running trials, if this is worth moving their state.

        Args:
            num_active: number of running trials.
        """
        num_rows = len(self._observation)
        if self._recognition is not None or num_rows <= MIN_PACKED_ROWS or num_active > PACKING_SHARE * num_rows:
            return
        kept = self._packed(self.active).nonzero().squeeze(1)
        self._rows = kept if self._rows is None else self._rows.index_select(0, kept)
        self._state.keep(kept)
        self._observation = self._observation.index_select(0, kept)
        self._stretches.append(RecordedStretch(rows=self._rows, recorded=[]))

    def pop_step(self) -> tuple[RecordedSteps, Tensor | None]:
        """Return the last step and its rows (None for all), and drop it from the record."""
        stretch = self._stretches[-1]
        return stretch.recorded.pop(), stretch.rows

    def played(self) -> Played:
        """Return the data of the steps so far."""
        recorded = join_stretches(self._stretches, num_trials=len(self.active))
        steps = recorded.steps.without_padding(recorded.steps.is_valid)
        return Played(
            spaces=self._spaces,
            episodes_per_trial=self._state.episodes_per_trial,
            recorded=replace(recorded, steps=steps),
            log_std=self._log_std,
            final=join_tensors(torch.cat, self._final) if self._final else None,
            left=self._left,
            last_observation=torch.cat(self._last) if self._has_images else None,
        )

    def left_behind(self, features: Float[Tensor, "B Q"]) -> Reinstated:
        """Return what the finished trials leave to later trials of their tasks.

        Args:
            features: the features with which it is recalled.

        Raises:
            RuntimeError: the rollout does not keep it, or rows were dropped (:meth:`pack`).
        """
        if self._hidden is None or self._rows is not None:
            raise RuntimeError("what trials leave behind needs leaves_behind=True and rollouts that drop no rows")
        state = self._state
        memory = state.memory if state.recalled_memory is None else state.recalled_memory
        return Reinstated(memory=memory, hidden=self._hidden, features=features)

    def _packed(self, values: Tensor) -> Tensor:
        """Select the packed rows: [R] of [B]."""
        return values if self._rows is None else values.index_select(0, self._rows)

    def _allowed(self) -> Tensor | None:
        """Return which choices the packed rows may take: [R, C]; None if all are allowed."""
        allowed = None if self._masked is None else self._masked.allowed_choices()
        return None if allowed is None else self._packed(allowed)

    def _choose(self, distribution: ActionDistribution) -> Tensor:
        if self._is_greedy:
            return distribution.mode()
        if not self._noise:
            self._noise = noise_of_steps(
                self._spaces.action,
                NOISE_STEPS,
                num_rows=len(self.active),
                generator=self._generator,
                device=self.active.device,
            )
        return distribution.drawn_by(self._packed(self._noise.pop()))

    def _step_tasks(self, action: Tensor) -> Transition:
        """Step the tasks in their own rows [B] and return the transition of the packed rows."""
        if self._rows is None:
            return self._tasks.step(action, self.active)
        actions = action.new_zeros(len(self.active), *action.shape[1:])
        actions.index_copy_(0, self._rows, action)
        return select_rows(self._tasks.step(actions, self.active), self._rows)

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
            self._final.append((policy.look(self._spaces, state, transition.final_observation), state.hidden))
            return
        rows = (transition.truncated & active).nonzero().squeeze(1)
        if len(rows):
            inputs = policy.look(self._spaces, state, transition.final_observation)
            self._final.append(select_rows((inputs, state.hidden), rows))
