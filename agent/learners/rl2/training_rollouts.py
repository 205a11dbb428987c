"""The training rollouts of a family: whole trials, or segments where trials are long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.segment import is_played_in_segments
from agent.learners.rl2.segment_rollout import SegmentRollout
from agent.learners.rl2.trials import TrialBatch
from envs.family import Split
from envs.task_batch import RowTaskBatch, TaskBatch


@dataclass(frozen=True, kw_only=True)
class RolloutPlan:
    """The plan of a training rollout: what determines it besides the policy.

    Attributes:
        first_task: index of the first training task that begins.
        num_episodes: E of the trials.
        longest_trial: steps of the family's longest trial lately; None before the first update.
    """

    first_task: int
    num_episodes: int
    longest_trial: float | None


def plan_rollout(learner: RL2Learner, name: str, *, first_task: int, episodes_per_trial: int) -> RolloutPlan:
    """Return the plan of a family's next training rollout.

    Args:
        learner: the learner, to which the family was added.
        name: the family's name, as added to the learner.
        first_task: index of the first training task that begins.
        episodes_per_trial: the family's own number of episodes per trial.
    """
    return RolloutPlan(
        first_task=first_task,
        num_episodes=learner.num_episodes(name, episodes_per_trial),
        longest_trial=learner.longest_trial(name),
    )


class TrainingRollouts:
    """The training rollouts of one family, one after another. Trials under way are dropped when it is released.

    Args:
        tasks: the family's tasks.
    """

    def __init__(self, tasks: TaskBatch) -> None:
        self.tasks = tasks
        self._segments: SegmentRollout | None = None

    def play(
        self,
        policy: RL2Policy,
        plan: RolloutPlan,
        *,
        generator: torch.Generator,
        progress: Callable[[int], None] | None = None,
    ) -> TrialBatch:
        """Play the next trial batch: whole trials, or the next segment.

        Args:
            policy: the policy.
            plan: what is played.
            generator: source of the actions' noise.
            progress: see :func:`agent.learners.rl2.rollout.collect_trials`.
        """
        segments = self._planned_segments(policy, plan)
        if segments is None:
            return collect_trials(
                policy,
                self.tasks,
                first_task=plan.first_task,
                split=Split.TRAINING,
                generator=generator,
                num_episodes=plan.num_episodes,
                progress=progress,
            )
        num_steps = policy.config.segment_steps
        assert num_steps is not None, "without it, trials are played whole"
        return segments.play(
            policy, first_task=plan.first_task, num_steps=num_steps, generator=generator, progress=progress
        )

    def _planned_segments(self, policy: RL2Policy, plan: RolloutPlan) -> SegmentRollout | None:
        """Return the rollout in segments that the plan needs; None for whole trials."""
        is_long = is_played_in_segments(
            self.tasks,
            policy.config,
            num_episodes=plan.num_episodes,
            longest_trial=plan.longest_trial,
            has_learned_keys=policy.pair(self.tasks.spaces).key_embedding is not None,
        )
        if not is_long or not isinstance(self.tasks, RowTaskBatch):
            self._segments = None
        elif self._segments is None or self._segments.num_episodes != plan.num_episodes:
            self._segments = SegmentRollout(self.tasks, num_episodes=plan.num_episodes)
        return self._segments
