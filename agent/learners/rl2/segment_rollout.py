"""Rollouts of long trials in segments (:mod:`agent.learners.rl2.segment`).

Each row plays one trial after another: where a trial ends, the next task begins in its row while the other rows go on.
Between two segments a rollout holds the hidden states, the in-trial memories and the environments under way.

Shapes: T steps of a segment, B rows, P pieces, N ends of episodes, C cuts (steps after which a value is bootstrapped).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from agent.learners.distributions import NOISE_STEPS, ActionDistribution, noise_of_steps
from agent.learners.rl2.pieces import Pieces
from agent.learners.rl2.policy import PolicyOutput, RL2Policy
from agent.learners.rl2.policy_state import PolicyInput, PolicyState
from agent.learners.rl2.segment import MOST_WHOLE_STEPS, Segment
from agent.learners.rl2.steps import Steps
from agent.learners.rl2.trees import join_tensors, select_rows
from agent.learners.rl2.trials import TrialBatch
from envs.family import Split
from envs.task_batch import RowTaskBatch, Transition, allowed_choices, given_contexts

LENGTH_DECAY = 0.9
"""Share of the earlier segments in the estimate of the trials' length: a mean over about ten segments."""

FEWEST_ENDED = 0.5
"""With fewer trials in the estimate, none ended lately."""

TaskPlace = tuple[dict[str, Any], bytes | None]
"""The description of a task, and the digest of the context that its environment gave."""


@dataclass(kw_only=True)
class _Recorded:
    """The record of a segment that is being played.

    Attributes:
        steps: [B] of each step.
        scores: [B, K] of each step.
        features: [B, Y] of each step.
        is_over: [B] of each step, whether it was the last of its trial.
        final_observations: the true final observations of episodes.
        finals: the policy's inputs and hidden states where a value is bootstrapped.
        cuts: the steps and rows after which that is.
        returns: the returns of the trials that ended.
        tasks: the description and the context of the task of each piece.
        log_std: [K] of continuous distributions; None otherwise.
        longest: steps of the longest trial that ended.
        num_terminated: number of trials that ended by termination.
    """

    steps: list[Steps] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    is_over: list[Tensor] = field(default_factory=list)
    final_observations: list[Tensor] = field(default_factory=list)
    finals: list[tuple[PolicyInput, Tensor]] = field(default_factory=list)
    cuts: list[tuple[int, int]] = field(default_factory=list)
    returns: list[Tensor] = field(default_factory=list)
    tasks: list[TaskPlace]
    log_std: Tensor | None = None
    longest: float = 0.0
    num_terminated: int = 0

    def add(self, step: Steps, output: PolicyOutput) -> None:
        """Record a step of every row with the policy's output for it."""
        self.steps.append(step)
        self.scores.append(output.distribution.scores)
        self.features.append(output.features)
        self.log_std = output.distribution.log_std


class SegmentRollout:
    """A rollout without end of a family's training tasks.

    Args:
        tasks: the family's tasks. If something else begins them, the trials under way are dropped.
        num_episodes: E of the trials.
    """

    def __init__(self, tasks: RowTaskBatch, *, num_episodes: int) -> None:
        self._tasks, self._spaces, self.num_episodes = tasks, tasks.spaces, num_episodes
        self._active = torch.ones(tasks.num_trials, dtype=torch.bool, device=tasks.device)
        self._state: PolicyState | None = None
        self._observation = torch.empty(0)
        self._num_begins = -1
        self._num_steps = self._num_ended = self._num_terminated = 0.0
        limit = tasks.max_episode_steps
        # Until trials had the time to end, the longest one is not known: they may be as long as they can be.
        self._longest = float(MOST_WHOLE_STEPS if limit is None else limit * num_episodes)
        self._next_task = 0
        self._places: list[TaskPlace] = []

    @torch.no_grad()
    def play(
        self,
        policy: RL2Policy,
        *,
        first_task: int,
        num_steps: int,
        generator: torch.Generator,
        progress: Callable[[int], None] | None = None,
    ) -> TrialBatch:
        """Play the next segment.

        Args:
            policy: the policy, which may have changed since the last segment.
            first_task: index of the training task that begins next.
            num_steps: T.
            generator: source of the actions' noise.
            progress: called after each step with the number of environment steps so far. If it raises, the trials under
                way are dropped.

        Returns:
            The pieces of the segment, one per column.

        Raises:
            WorkerFaultError: the family's worker failed; the trials under way are lost.
        """
        self._next_task = first_task
        state, self._state = self._state, None
        if state is None or self._tasks.num_begins != self._num_begins:
            state = self._begin(policy)
        state.constants = policy.pair(self._spaces).constants()
        left, begins, recorded = state.hidden, state.begins, _Recorded(tasks=list(self._places))
        assert begins is not None, "the rows of a segment begin trials by themselves"
        noise: list[Tensor] = []
        for step in range(num_steps):
            noise = noise or noise_of_steps(
                self._spaces.action,
                min(NOISE_STEPS, num_steps - step),
                num_rows=self._tasks.num_trials,
                generator=generator,
                device=self._tasks.device,
            )
            self._step(policy, state, noise.pop(), recorded)
            if progress is not None:
                progress((step + 1) * self._tasks.num_trials)
        batch = self._batch(policy, state, recorded, left=left, begins=begins, first_task=first_task)
        self._state = state  # Kept only now: a segment that raised is not gone on with.
        return batch

    def _begin(self, policy: RL2Policy) -> PolicyState:
        tasks = self._tasks
        self._observation = tasks.begin(self._next_task, split=Split.TRAINING)
        self._next_task += tasks.num_trials
        self._num_begins = tasks.num_begins
        self._return = torch.zeros(tasks.num_trials, dtype=torch.float64, device=tasks.device)
        self._taken = torch.zeros(tasks.num_trials, device=tasks.device)
        state = policy.begin(
            self._spaces, num_trials=tasks.num_trials, episodes_per_trial=self.num_episodes, device=tasks.device
        )
        state.begins = self._active
        self._places = self._described(list(range(tasks.num_trials)))
        return state

    def _described(self, rows: list[int]) -> list[TaskPlace]:
        return list(zip(self._tasks.describe_tasks(rows), given_contexts(self._tasks, rows), strict=True))

    def _step(self, policy: RL2Policy, state: PolicyState, noise: Tensor, recorded: _Recorded) -> None:
        """Take one step in every row, and begin the next task where a trial ended."""
        inputs = policy.look(self._spaces, state, self._observation, allowed=allowed_choices(self._tasks))
        output = policy.step(self._spaces, inputs, state.hidden, state.constants)
        action = output.distribution.drawn_by(noise)
        transition = self._tasks.step(action, self._active)
        recorded.add(
            Steps(
                inputs=inputs,
                action=action,
                reward=transition.reward,
                terminated=transition.terminated,
                truncated=transition.truncated,
                is_valid=self._active,
                episode_index=state.episode_index,
            ),
            output,
        )
        policy.take(
            self._spaces,
            state,
            hidden=output.hidden,
            observation=self._observation,
            action=action,
            reward=transition.reward,
            final_observation=transition.final_observation,
            terminated=transition.terminated,
            active=self._active,
        )
        state.begins = torch.zeros_like(self._active)
        self._look_at_ends(policy, state, transition, recorded)
        policy.end_episodes(
            state, terminated=transition.terminated, truncated=transition.truncated, active=self._active
        )
        self._observation = transition.observation
        is_over = state.episode_index >= state.episodes_per_trial
        recorded.is_over.append(is_over)
        self._return += transition.reward
        self._taken += 1.0
        if is_over.any():
            recorded.num_terminated += int((is_over & transition.terminated).sum())
            self._begin_rows(state, is_over, recorded)

    def _look_at_ends(self, policy: RL2Policy, state: PolicyState, transition: Transition, recorded: _Recorded) -> None:
        """Store the true final observations, and the policy's inputs at those of truncated episodes."""
        ended = transition.terminated | transition.truncated
        if not ended.any():
            return
        recorded.final_observations.append(transition.final_observation[ended])
        self._look(policy, state, transition.final_observation, transition.truncated, recorded)

    def _look(
        self,
        policy: RL2Policy,
        state: PolicyState,
        observation: Tensor,
        is_cut: Bool[Tensor, " B"],
        recorded: _Recorded,
    ) -> None:
        """Store the policy's inputs at an observation in the rows after whose last step a value is bootstrapped."""
        rows = is_cut.nonzero().squeeze(1)
        if len(rows):
            inputs = policy.look(self._spaces, state, observation, allowed=allowed_choices(self._tasks))
            recorded.finals.append(select_rows((inputs, state.hidden), rows))
            recorded.cuts += [(len(recorded.steps) - 1, row) for row in rows.tolist()]

    def _begin_rows(self, state: PolicyState, is_over: Bool[Tensor, " B"], recorded: _Recorded) -> None:
        """Begin the next training tasks in the rows whose trials ended."""
        recorded.returns.append(self._return[is_over])
        recorded.longest = max(recorded.longest, float(self._taken[is_over].max()))
        self._return, self._taken = self._return.masked_fill(is_over, 0.0), self._taken.masked_fill(is_over, 0.0)
        self._observation = self._observation.clone()
        for row in is_over.nonzero().squeeze(1).tolist():
            self._observation[row] = self._tasks.begin_row(row, self._next_task, split=Split.TRAINING)
            [self._places[row]] = self._described([row])
            self._next_task += 1
            recorded.tasks.append(self._places[row])
        state.begin_again(is_over)

    def _batch(
        self,
        policy: RL2Policy,
        state: PolicyState,
        recorded: _Recorded,
        *,
        left: Tensor,
        begins: Tensor,
        first_task: int,
    ) -> TrialBatch:
        """Lay out a segment in pieces."""
        is_over, last = torch.stack(recorded.is_over), recorded.steps[-1]
        self._look(policy, state, self._observation, ~is_over[-1] & ~last.truncated, recorded)
        open_rows = (~last.terminated & ~last.truncated).nonzero().squeeze(1)
        pieces = Pieces.of(is_over)
        steps = pieces.lay_out(join_tensors(torch.stack, recorded.steps)).without_padding(pieces.is_valid)
        scores = pieces.lay_out(torch.stack(recorded.scores))
        distribution = ActionDistribution(action=self._spaces.action, scores=scores, log_std=recorded.log_std)
        cut, cut_features = self._cuts(policy, pieces, recorded)
        end, final_observation = self._ends(pieces, recorded)
        returns = torch.cat([*recorded.returns, self._return[:0]]).float()
        trial_steps = self._trial_steps(is_over.numel(), len(returns))
        return TrialBatch(
            **vars(steps),
            spaces=self._spaces,
            episodes_per_trial=self.num_episodes,
            log_prob=distribution.log_prob(steps.action),
            decisions=distribution.parameters(),
            end=end,
            final_observation=final_observation,
            features=pieces.lay_out(torch.stack(recorded.features)),
            cut=cut,
            cut_features=cut_features,
            left=pieces.first_hidden(left),
            segment=Segment(
                num_begun=self._next_task - first_task,
                trial_steps=trial_steps,
                horizon_steps=trial_steps * self._terminated_share(recorded.num_terminated),
                longest_trial=self._longest_trial(recorded),
                tasks=[task for task, _context in recorded.tasks[: len(pieces.row)]],
                contexts=[context for _task, context in recorded.tasks[: len(pieces.row)]],
                begins=begins[pieces.row] | (pieces.start > 0),
                returns=returns,
                open_end=pieces.places(torch.full_like(open_rows, len(recorded.steps) - 1), open_rows),
                open_observation=self._observation[open_rows],
            ),
        )

    def _cuts(self, policy: RL2Policy, pieces: Pieces, recorded: _Recorded) -> tuple[Tensor, Tensor]:
        """Return the flat indices of the cuts, [C], and the inputs of a critic there, [C, Y]."""
        device = self._tasks.device
        step, row = torch.tensor(recorded.cuts, dtype=torch.int64, device=device).view(-1, 2).unbind(1)
        if not recorded.finals:
            return step, recorded.features[0][:0]
        inputs, hidden = join_tensors(torch.cat, recorded.finals)
        return pieces.places(step, row), policy.step(self._spaces, inputs, hidden).features

    def _ends(self, pieces: Pieces, recorded: _Recorded) -> tuple[Tensor, Tensor]:
        """Return the flat indices of the steps that ended an episode, ascending, and the true final observations."""
        ended = torch.stack([step.terminated | step.truncated for step in recorded.steps])
        step, row = ended.nonzero().unbind(1)
        final_observation = torch.cat([*recorded.final_observations, self._observation[:0]])
        end, order = pieces.places(step, row).sort()
        return end, final_observation[order]

    def _trial_steps(self, num_steps: int, num_ended: int) -> float:
        """Estimate the mean length of trials: the steps of about ten segments for each trial that ended in them.

        If none ended, it is the largest length that trials may have, or ``MOST_WHOLE_STEPS`` if no limit is known.
        """
        self._num_steps = LENGTH_DECAY * self._num_steps + num_steps
        self._num_ended = LENGTH_DECAY * self._num_ended + num_ended
        limit = self._tasks.max_episode_steps
        most = float("inf") if limit is None else float(limit * self.num_episodes)
        if self._num_ended < FEWEST_ENDED:
            return max(self._num_steps, MOST_WHOLE_STEPS) if limit is None else most
        return min(self._num_steps / max(self._num_ended, 1.0), most)

    def _terminated_share(self, num_terminated: int) -> float:
        """Estimate the share of trials that end by termination; called after :meth:`_trial_steps`. 0 if none ended.

        It is 1 for trials of several episodes, in which later episodes profit from what earlier ones found out.
        """
        self._num_terminated = LENGTH_DECAY * self._num_terminated + num_terminated
        if self.num_episodes > 1:
            return 1.0
        return self._num_terminated / self._num_ended if self._num_ended >= FEWEST_ENDED else 0.0

    def _longest_trial(self, recorded: _Recorded) -> float:
        """Return the steps of the longest trial that ended or is under way; of earlier ones a share that falls."""
        self._longest = max(LENGTH_DECAY * self._longest, recorded.longest, float(self._taken.max()))
        return self._longest
