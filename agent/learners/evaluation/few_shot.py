"""Scores of few-shot learners on held-out tasks, in the form that RL²'s have.

A task is a trial; its return is the query set's (``envs.few_shot.returns``); instead of episodes there are numbers of
shots.

Shapes: N tasks, Q queries, O outputs, K samples.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from agent.learners.evaluation.trials import SCORING_SEED, HeldOutReturns
from agent.learners.protocol import FewShotLearner, SamplingPredictor
from envs.family import Split
from envs.few_shot.returns import charted_shots, task_returns, with_shots
from envs.few_shot.tasks import FewShotBatch, FewShotFamily

TASKS_AT_ONCE = 8
NUM_SAMPLES = 10
"""Solutions drawn of each task to see how far they differ."""


def adapted_returns(learner: FewShotLearner, batch: FewShotBatch) -> Float[Tensor, " N"]:
    """Each task's return after adaptation to its support set; the learner is left as it was."""
    outputs = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    return task_returns(outputs, batch.query_y, is_classification=learner.shapes.is_classification).cpu()


def held_out_tasks(
    learner: FewShotLearner,
    tasks: FewShotFamily,
    *,
    first_task: int,
    num_tasks: int,
    chance: float,
    device: torch.device | str = "cpu",
    is_brief: bool = False,
    progress: Callable[[int], None] | None = None,
) -> HeldOutReturns:
    """Adapt to at least ``num_tasks`` held-out tasks with 1, 2, 5, … and all shots, and ask their queries.

    Args:
        learner: left as it was.
        tasks: the family.
        first_task: index of the first held-out task.
        num_tasks: N, rounded up to whole batches.
        chance: the return without any shot.
        device: where the learner lives.
        is_brief: adapt with all shots alone, and do not ask for the uncertainty.
        progress: called with the tasks answered so far; may raise, which abandons the scoring.
    """
    shot_counts = (tasks.shots,) if is_brief else charted_shots(tasks.shots)
    columns: list[Tensor] = []
    uncertainties: list[Tensor] = []
    for offset in range(0, num_tasks, TASKS_AT_ONCE):
        batch = tasks.sample(TASKS_AT_ONCE, split=Split.HELD_OUT, first_task=first_task + offset, device=device)
        returns, uncertainty = _at_every_shot(learner, batch, shot_counts, is_uncertainty_asked=not is_brief)
        columns.append(returns)
        uncertainties.append(uncertainty)
        if progress is not None:
            progress(offset + TASKS_AT_ONCE)
    by_shots = torch.cat(columns, dim=1)
    nothing_seen = torch.full_like(by_shots[:1], chance)
    return HeldOutReturns(
        trials=by_shots[-1],
        episodes=torch.cat([nothing_seen, by_shots]),
        labels=(0, *shot_counts),
        uncertainty=torch.cat(uncertainties, dim=1),
    )


def _at_every_shot(
    learner: FewShotLearner, batch: FewShotBatch, shot_counts: tuple[int, ...], *, is_uncertainty_asked: bool
) -> tuple[Float[Tensor, "E N"], Float[Tensor, "U N"]]:
    """Return returns and uncertainty by number of shots; U is 0 if the learner draws no solutions."""
    is_classification = learner.shapes.is_classification
    returns, uncertainty = [], []
    for num_shots in shot_counts:
        seen = with_shots(batch, num_shots, is_classification=is_classification)
        predict = learner.adapt(seen.support_x, seen.support_y)
        outputs = predict(seen.query_x)
        returns.append(task_returns(outputs, seen.query_y, is_classification=is_classification).cpu())
        if is_uncertainty_asked and isinstance(predict, SamplingPredictor):
            uncertainty.append(uncertainty_of(predict, seen.query_x, is_classification=is_classification).cpu())
    return torch.stack(returns), torch.stack(uncertainty) if uncertainty else torch.zeros(0, batch.num_tasks)


def uncertainty_of(predict: SamplingPredictor, query_x: Tensor, *, is_classification: bool) -> Float[Tensor, " N"]:
    """Return the spread of a posterior's solutions on the queries of each task, averaged over the queries.

    Classification: the entropy of the mean of the solutions' probabilities, in nats: 0 when all agree and are sure,
    log of the ways when nothing is known. Regression: the standard deviation over solutions, in units of the target.

    Args:
        predict: the posterior of N tasks.
        query_x: [N, Q, …].
        is_classification: whether outputs are logits.
    """
    generator = torch.Generator().manual_seed(SCORING_SEED)
    outputs = predict.sample(query_x, num_samples=NUM_SAMPLES, generator=generator)
    if not is_classification:
        return outputs.std(0).flatten(1).mean(1)
    probabilities = outputs.softmax(3).mean(0)
    entropy: Tensor = torch.special.entr(probabilities).sum(2)
    return entropy.mean(1)
