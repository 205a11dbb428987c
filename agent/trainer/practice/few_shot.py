"""The practise job of a few-shot family: outer steps of its learner for a slice of time, committed as one learner step.

The totals of a few-shot family count examples as environment steps, tasks as trials and as episodes, and outer steps as
meta-updates.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from agent.learners.evaluation.few_shot import adapted_returns
from agent.learners.protocol import FewShotLearner
from agent.trainer.families import learner_name
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.practice.slices import learner_step, refuse_divergence, report_of
from agent.trainer.session import TrainerSession
from envs.family import Split
from envs.few_shot.tasks import FewShotBatch
from memory.records import Family, FamilyTotals

PROBED_TASKS = 16
"""Number of training tasks that are scored at the start of a slice, before learning from them, for the return curve."""

PROBED_AT_ONCE = 4
PROBED_SHARE = 0.1
"""Share of a slice after which no more tasks are scored, because some learners adapt in fifty steps per task."""

NOT_LOSSES = frozenset({"accuracy"})
"""Metrics of an update that are not losses. They are not recorded; the trial return is recorded instead."""


@dataclass
class _Slice:
    """The totals of a slice of practice so far."""

    returns: Tensor
    examples: int = 0
    tasks: int = 0
    updates: int = 0
    losses: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def take(self, batch: FewShotBatch, metrics: dict[str, float]) -> None:
        self.examples += batch.num_examples
        self.tasks += batch.num_tasks
        self.updates += 1
        for part, value in metrics.items():
            if part not in NOT_LOSSES:
                self.losses[part].append(value)

    @property
    def totals(self) -> FamilyTotals:
        return FamilyTotals(env_steps=self.examples, episodes=self.tasks, trials=self.tasks, meta_updates=self.updates)


def practise_few_shot(session: TrainerSession, family: Family, *, reason: str) -> dict[str, Any]:
    """Practise one few-shot family for a slice of time and commit the slice.

    If the process is killed before the commit, the slice is lost. After the commit nothing can be lost.

    Raises:
        JobInterruptedError: the daemon has requested a stop before the first update; the slice is discarded.
        EnvsError: the family's images can no longer be read; the slice is discarded.
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
        refuse_divergence(session, name, metrics)
        if time.monotonic() - began >= session.settings.practise.slice_s:
            break
    refuse_divergence(session, name, metrics, has_finite_parameters=is_finite(learner))
    session.next_task[name] = first_task + work.tasks
    step = learner_step(
        session,
        family,
        practised=work.totals,
        returns=work.returns,
        losses=work.losses,
        started_at=started_at,
        reason=reason,
    )
    session.commit(step)
    return report_of(step)


def _probe(session: TrainerSession, family: Family, learner: FewShotLearner, first_task: int) -> Tensor:
    """Return the returns [n] on the next training tasks, before learning from them."""
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
    """Return whether every tensor of the learner's initialization is finite."""
    return all(bool(tensor.isfinite().all()) for tensor in learner.initialization().values())
