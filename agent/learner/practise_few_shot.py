"""The practise job of a few-shot family: outer steps of its own learner for a slice of time, committed as one step.

The totals of a few-shot family count examples as environment steps, tasks as trials and as episodes, and outer steps as
meta-updates.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from agent.learner.few_shot_scoring import adapted_returns
from agent.learner.heartbeat import JobInterruptedError
from agent.learner.practise import DivergedError
from agent.learner.scoring import standard_error
from agent.learner.session import LearnerSession, learner_name
from agent.learners.protocol import FewShotLearner
from envs.family import Split
from envs.few_shot.tasks import FewShotBatch
from memory.records import CurveMetric, CurvePoint, Family, FamilyTotals, LearnerStep

PROBED_TASKS = 16
"""Tasks that are answered before they are learned from, at a slice's beginning: the return that is charted."""

PROBED_AT_ONCE = 4
PROBED_SHARE = 0.1
"""Share of a slice after which no more tasks are answered: adapting takes some learners fifty steps a task."""

NOT_LOSSES = frozenset({"accuracy"})
"""What an update tells beside losses; the trial return is charted instead."""


@dataclass
class _Slice:
    """What a slice of practice has done so far."""

    returns: Tensor
    examples: int = 0
    tasks: int = 0
    updates: int = 0
    losses: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def take(self, batch: FewShotBatch, metrics: dict[str, float]) -> None:
        self.examples += batch.support_y.shape[:2].numel() + batch.query_y.shape[:2].numel()
        self.tasks += batch.num_tasks
        self.updates += 1
        for part, value in metrics.items():
            if part not in NOT_LOSSES:
                self.losses[part].append(value)


def practise_few_shot(session: LearnerSession, family: Family, *, reason: str) -> dict[str, Any]:
    """Practise one few-shot family for a slice of time and commit it.

    Everything up to the commit is lost when the process is killed; nothing after it is.

    Raises:
        JobInterruptedError: control has asked to stop before the first update; nothing of the slice is kept.
        EnvsError: the family's images cannot be read any more; nothing of the slice is kept.
        DivergedError: an update diverged; the state is that of the last commit.
    """
    started_at, began = session.clock(), time.monotonic()
    name, tasks = learner_name(family), session.few_shot.training_tasks_of(family)
    learner, num_tasks = session.few_shot.learner_of(family, name), session.few_shot.recipe_of(family).tasks_per_update
    first_task = session.next_task.get(name, 0)
    work = _Slice(returns=_probe(session, family, learner, first_task))
    while True:
        try:
            session.heartbeat.beat_or_give_up()
        except JobInterruptedError:
            if work.updates == 0:
                raise
            break
        batch = tasks.sample(num_tasks, split=Split.TRAINING, first_task=first_task + work.tasks, device=session.device)
        metrics = learner.update(batch)
        work.take(batch, metrics)
        if not all(math.isfinite(value) for value in metrics.values()):
            _diverged(session, name, metrics)
        if time.monotonic() - began >= session.settings.practise.slice_s:
            break
    if not is_finite(learner):
        _diverged(session, name, metrics)
    session.next_task[name] = first_task + work.tasks
    step = _learner_step(session, family, work, started_at=started_at, reason=reason)
    session.commit(step)
    return {
        "env_steps": work.examples,
        "trials": work.tasks,
        "meta_updates": work.updates,
        "trial_return": float(work.returns.mean()),
    }


def _probe(session: LearnerSession, family: Family, learner: FewShotLearner, first_task: int) -> Tensor:
    """[n] returns of the training tasks that come next, before they are learned from."""
    tasks, began = session.few_shot.tasks_of(family), time.monotonic()
    returns = []
    for offset in range(0, PROBED_TASKS, PROBED_AT_ONCE):
        batch = tasks.sample(
            PROBED_AT_ONCE, split=Split.TRAINING, first_task=first_task + offset, device=session.device
        )
        returns.append(adapted_returns(learner, batch))
        session.heartbeat.beat()
        if time.monotonic() - began >= PROBED_SHARE * session.settings.practise.slice_s:
            break
    return torch.cat(returns)


def is_finite(learner: FewShotLearner) -> bool:
    """Whether every tensor that adapts is finite."""
    return all(bool(tensor.isfinite().all()) for tensor in learner.initialization().values())


def _diverged(session: LearnerSession, name: str, metrics: dict[str, float]) -> None:
    session.restore_last_commit()
    raise DivergedError(f"an update of {name} gave a value that is not finite: {metrics}; restored the last commit")


def _learner_step(
    session: LearnerSession, family: Family, work: _Slice, *, started_at: float, reason: str
) -> LearnerStep:
    points = [
        CurvePoint(
            metric=CurveMetric.TRIAL_RETURN,
            value=float(work.returns.mean()),
            standard_error=standard_error(work.returns),
        ),
        *(
            CurvePoint(metric=CurveMetric.LOSS, label=part, value=sum(values) / len(values))
            for part, values in work.losses.items()
        ),
    ]
    return LearnerStep(
        family=family.name,
        practised=FamilyTotals(
            env_steps=work.examples, episodes=work.tasks, trials=work.tasks, meta_updates=work.updates
        ),
        trials=(),
        points=tuple(points),
        started_at=started_at,
        finished_at=session.clock(),
        detail={"reason": reason},
    )
