"""The return in tasks that were met before, with what the episodic memory holds of them and without.

Shapes: B trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agent.learners.evaluation.trials import SCORING_SEED, standard_error
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.recalled_trials import RecalledStarts
from agent.learners.rl2.recognition import Recognition
from agent.learners.rl2.rollout import Rollout, play_out
from agent.learners.rl2.trials import TrialBatch, episode_returns
from envs.family import Split
from envs.task_batch import RecurringTaskBatch, given_contexts
from memory.records import CurveMetric, CurvePoint
from memory.retrieval.recall import MAX_TRIALS_OF_A_TASK, MOST_LOADED, TaskRecall

EXPOSURE = 1 << 20
"""The exposure that is played: practice never reaches it, so its noise is new."""

MOST_TASKS = 64
"""Tasks that are played, in turn if the batch has more rows: those that were met last."""

MOST_PREPARED = MOST_LOADED // MAX_TRIALS_OF_A_TASK
"""Tasks, those that were met last, whose trials are run again in advance if the first steps may recall them."""

WITH_MEMORY, EMPTY = "memory", "empty"

Progress = Callable[[int], None]


def met_points(
    policy: RL2Policy,
    tasks: RecurringTaskBatch,
    recall: TaskRecall,
    met: Sequence[int],
    *,
    progress: Progress | None = None,
) -> tuple[CurvePoint, ...]:
    """Return the mean returns in tasks that were met: with the memory, and from an empty start.

    They are those of the first episode and of the whole trial.

    Args:
        policy: the policy.
        tasks: B tasks of the family.
        recall: the family's stored trials.
        met: numbers of training tasks that were met, the last one first; no points if there are none.
        progress: as in :func:`agent.learners.rl2.rollout.collect_trials`.
    """
    if not met:
        return ()
    given = MetTasks.of(tasks, met)
    recognition = given.recognition(policy, recall, progress=progress)
    return (
        *_points(WITH_MEMORY, given.play(policy, recognition, progress=progress)),
        *_points(EMPTY, given.play(policy, None, progress=progress)),
    )


@dataclass(frozen=True, kw_only=True)
class MetTasks:
    """The tasks that were met, one for each row of a batch.

    Attributes:
        tasks: B tasks of the family.
        numbers: [B] numbers of training tasks.
        exposures: [B] how often each counts as begun before.
    """

    tasks: RecurringTaskBatch
    numbers: Tensor
    exposures: Tensor

    @classmethod
    def of(cls, tasks: RecurringTaskBatch, met: Sequence[int]) -> MetTasks:
        """Return the first tasks that were met, in turn if the batch has more rows."""
        rows, numbers = torch.arange(tasks.num_trials), torch.tensor(met[:MOST_TASKS])
        return cls(
            tasks=tasks,
            numbers=numbers[rows % len(numbers)].to(tasks.device),
            exposures=(EXPOSURE + rows // len(numbers)).to(tasks.device),
        )

    def recognition(self, policy: RL2Policy, recall: TaskRecall, *, progress: Progress | None = None) -> Recognition:
        """Return the recall of trials in these tasks, which are told apart as acting with the trials does."""
        tasks = self.tasks
        first = tasks.begin_tasks(self.numbers, self.exposures, split=Split.TRAINING)
        contexts = given_contexts(tasks, list(range(tasks.num_trials)))
        starts = RecalledStarts(policy, tasks.spaces, device=tasks.device, progress=progress)
        starts.prepare(recall.alike(first.cpu().numpy(), contexts, most=MOST_PREPARED))
        return Recognition(
            recall,
            starts,
            first_observation=first,
            contexts=contexts,
            episodes_per_trial=tasks.spec.episodes_per_trial,
        )

    def play(
        self, policy: RL2Policy, recognition: Recognition | None, *, progress: Progress | None = None
    ) -> TrialBatch:
        """Play one trial in each task, with what the memory recalls; None plays from an empty start."""
        rollout = Rollout(
            policy,
            self.tasks,
            first_task=self.numbers,
            exposure=self.exposures,
            split=Split.TRAINING,
            generator=torch.Generator(device=self.tasks.device).manual_seed(SCORING_SEED),
            recognition=recognition,
        )
        return play_out(policy, rollout, may_pack=False, progress=progress)


def _points(label: str, trials: TrialBatch) -> tuple[CurvePoint, ...]:
    """Return the points of the first episode's return and of the trial's."""
    by_episode = episode_returns(trials)
    return tuple(
        CurvePoint(metric=metric, label=label, value=float(returns.mean()), standard_error=standard_error(returns))
        for metric, returns in (
            (CurveMetric.MET_RETURN, by_episode[0]),
            (CurveMetric.MET_TRIAL_RETURN, by_episode.sum(0)),
        )
    )
