"""The return in tasks that were met before, with what the episodic memory holds of them and without.

Shapes: B trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from agent.learners.evaluation.trials import SCORING_SEED, standard_error
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.recalled_trials import reinstate
from agent.learners.rl2.reinstatement import Reinstated
from agent.learners.rl2.rollout import Rollout, play_out
from agent.learners.rl2.trials import episode_returns
from envs.family import Split
from envs.task_batch import RecurringTaskBatch, given_contexts
from memory.records import CurveMetric, CurvePoint
from memory.retrieval.recall import RecalledTrials, TaskRecall

EXPOSURE = 1 << 20
"""The exposure that is played: practice never reaches it, so its noise is new."""

MOST_TASKS = 64
"""Tasks that are played, in turn if the batch has more rows: those that were met last."""

WITH_MEMORY, EMPTY = "memory", "empty"


def met_points(
    policy: RL2Policy,
    tasks: RecurringTaskBatch,
    recall: TaskRecall,
    met: Sequence[int],
    *,
    progress: Callable[[int], None] | None = None,
) -> tuple[CurvePoint, ...]:
    """Return the mean return of the first episode in tasks that were met: with the memory, and from an empty start.

    Args:
        policy: the policy.
        tasks: B tasks of the family.
        recall: the family's stored trials.
        met: numbers of training tasks that were met, the last one first; no points if there are none.
        progress: as in :func:`agent.learners.rl2.rollout.collect_trials`.
    """
    if not met:
        return ()
    rows, numbers = torch.arange(tasks.num_trials), torch.tensor(met[:MOST_TASKS])
    given = numbers[rows % len(numbers)].to(tasks.device)
    exposures = (EXPOSURE + rows // len(numbers)).to(tasks.device)
    recalled = _recalled(tasks, recall, given, exposures)

    def point(label: str, reinstated: Reinstated | None) -> CurvePoint:
        rollout = Rollout(
            policy,
            tasks,
            first_task=given,
            exposure=exposures,
            split=Split.TRAINING,
            generator=torch.Generator(device=tasks.device).manual_seed(SCORING_SEED),
            reinstated=reinstated,
        )
        returns = episode_returns(play_out(policy, rollout, may_pack=False, progress=progress))[0]
        return CurvePoint(
            metric=CurveMetric.MET_RETURN,
            label=label,
            value=float(returns.mean()),
            standard_error=standard_error(returns),
        )

    start = reinstate(policy, tasks.spaces, recalled, device=tasks.device, progress=progress)
    return (point(WITH_MEMORY, start), point(EMPTY, None))


def _recalled(
    tasks: RecurringTaskBatch, recall: TaskRecall, given: torch.Tensor, exposures: torch.Tensor
) -> list[RecalledTrials]:
    """Return what the memory recalls at the first observation of each row."""
    first = tasks.begin_tasks(given, exposures, split=Split.TRAINING).cpu().numpy()
    contexts = given_contexts(tasks, list(range(tasks.num_trials)))
    return [recall.find(seen, context=context) for seen, context in zip(first, contexts, strict=True)]
